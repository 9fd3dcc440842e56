"""Real clients against build/qguard serve with the built-in model."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "http"))
from wire import Server  # noqa: E402

MODEL = "Qwen/Qwen3Guard-Gen-0.6B"


@pytest.fixture(scope="module")
def server(qguard):
    """A server that answers to the name that the official examples ask for."""
    one = Server([str(qguard), "serve", "--port", "0", "--served-model-name", MODEL, "--quiet"])
    yield one
    assert one.stop() == 0, one.lines[-20:]
