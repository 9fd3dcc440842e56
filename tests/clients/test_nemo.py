"""NeMo Guardrails from PyPI: content safety rails through chat completions, and its three remote classifiers."""
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "http"), str(HERE)]
from heavy import BOMB, PATIENCE_S, SAFE, SAYS, environment, start_model, without_proxies  # noqa: E402
from wire import Server  # noqa: E402

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def reply(qguard):
    python = environment("nemo", "nemoguardrails[openai]==0.24.1") / "python"
    guard = Server([str(qguard), "serve", "--port", "0", "--quiet", "--served-model-name", "guard-model"])
    model = start_model()

    def ask(rail, text):
        done = subprocess.run(
            [python, HERE / "nemo_rails.py", f"http://127.0.0.1:{guard.port}", f"http://127.0.0.1:{model.server_address[1]}",
             "guard-model", rail, text], env=without_proxies(NEMO_GUARDRAILS_TELEMETRY="0"), capture_output=True,
            text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.split("REPLY:")[1].strip()

    yield ask
    model.shutdown()
    assert guard.stop() == 0


@pytest.mark.parametrize("rail", ["content", "vllm", "fms", "kserve"])
def test_rails(reply, rail):
    assert reply(rail, SAFE) == SAYS["good"]
    assert reply(rail, BOMB) == "I'm sorry, I can't respond to that."
