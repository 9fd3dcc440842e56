"""any-guardrail from PyPI: its OpenAI moderation and Lakera classes, which look at flags and at scores."""
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "http"), str(HERE)]
from heavy import BOMB, PATIENCE_S, SAFE, environment, without_proxies  # noqa: E402
from wire import Server  # noqa: E402

pytestmark = pytest.mark.heavy
SCRIPT = """
import sys
from any_guardrail.guardrails.lakera_guard.lakera_guard import LakeraGuard
from any_guardrail.guardrails.openai_moderation.openai_moderation import OpenaiModeration
url, *texts = sys.argv[1:]
for guard in (OpenaiModeration(base_url=url + "/v1", api_key="k"), LakeraGuard(endpoint=url + "/v2/guard", api_key="k")):
    print([guard.validate(text).valid for text in texts])
"""


def test_classes(qguard):
    python = environment("any-guardrail", "any-guardrail==0.7.7", "requests", "openai==3.54.0") / "python"
    guard = Server([str(qguard), "serve", "--port", "0", "--quiet", "--api-key", "k"])
    try:
        done = subprocess.run([python, "-c", SCRIPT, f"http://127.0.0.1:{guard.port}", SAFE, BOMB],
                              env=without_proxies(), capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.splitlines() == ["[True, False]"] * 2
    finally:
        assert guard.stop() == 0
