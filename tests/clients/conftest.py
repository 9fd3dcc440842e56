"""Real clients against build/qguard serve with the built-in model."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "http"))
from wire import Server  # noqa: E402

MODEL = "Qwen/Qwen3Guard-Gen-0.6B"


def pytest_collection_modifyitems(items):
    """A heavy test may have to install its client first, which takes minutes."""
    for item in items:
        if item.get_closest_marker("heavy"):
            item.add_marker(pytest.mark.timeout(1800), append=False)


@pytest.fixture(scope="module")
def server(qguard):
    """A server that answers to the name that the official examples ask for."""
    one = Server([str(qguard), "serve", "--port", "0", "--served-model-name", MODEL, "--quiet"])
    yield one
    assert one.stop() == 0, one.lines[-20:]
