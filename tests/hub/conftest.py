"""A local hub, a clean home for every test, and `qguard pull` in it."""
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from localhub import Hub  # noqa: E402
from tiny_repo import REPO, model_files  # noqa: E402

# whatever the machine's own environment says must not reach the tests
CLEAN = ("HF_", "HUGGING", "MODELSCOPE", "VLLM_USE", "TRANSFORMERS", "XDG_CACHE", "QGUARD_MODEL",
         "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@pytest.fixture
def hub():
    one = Hub()
    one.commit = one.add(REPO, model_files())
    yield one
    one.close()


@pytest.fixture
def home(tmp_path, hub):
    """The environment of a user whose hubs are the local one."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(CLEAN)}
    env |= {"HOME": str(tmp_path), "HF_ENDPOINT": hub.url, "MODELSCOPE_ENDPOINT": hub.url,
            "no_proxy": "*", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return env


@pytest.fixture
def pull(qguard, home):
    """pull("--hub", "hf", env={…}) -> CompletedProcess of `qguard pull REPO …`."""

    def run(*args, repo=REPO, env=None, timeout=60):
        return subprocess.run([str(qguard), "pull", repo, *map(str, args)], capture_output=True,
                              encoding="utf-8", timeout=timeout, env={**home, **(env or {})})

    return run
