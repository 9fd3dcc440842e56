"""Schemathesis makes requests up from /openapi.json, right ones and wrong ones: no answer may be a server error, each
has a status, a content type and a body that the description has. The fake engine and the built-in model."""
import os
import pathlib
import subprocess
import sys

import pytest

from wire import Server

pytestmark = pytest.mark.heavy
pytest.importorskip("schemathesis")
ROOT = pathlib.Path(__file__).resolve().parents[2]
FAKE = pathlib.Path(os.environ.get("QGUARD_FAKE_SERVE") or ROOT / "build/tests/http/qguard-fake-serve")
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
          "allow_header_conformance", "use_after_free")
SECONDS = 15

# What is refused always, by its contract, is no error.
CONFIG = """[[operations]]
include-path = "/pipelines/{path}"
checks.not_a_server_error.expected-statuses = ["501", "2xx", "4xx"]
"""


def fuzz(server, folder):
    (folder / "schemathesis.toml").write_text(CONFIG)
    base = f"http://127.0.0.1:{server.port}"
    words = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
             "--config-file", folder / "schemathesis.toml", "run", base + "/openapi.json", "--url", base,
             "--checks", ",".join(CHECKS), "--max-time", str(SECONDS), "--seed", "20261124", "--request-timeout", "60",
             "--suppress-health-check", "all", "--warnings", "off"]
    env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    env["SCHEMATHESIS_HOOKS"] = str(pathlib.Path(__file__).with_name("fuzz_hooks.py"))
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, env=env, cwd=folder, timeout=170)
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-2000:]


def test_fake_engine(tmp_path):
    server = Server([str(FAKE)])
    try:
        fuzz(server, tmp_path)
    finally:
        assert server.stop() == 0, server.lines[-20:]


def test_built_in_model(server, tmp_path):
    fuzz(server, tmp_path)
    assert server.get("/health").status == 200
