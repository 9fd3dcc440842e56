"""The server under test: src/serve on the fake engine, one process per test that asks for one."""
import contextlib
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from wire import running  # noqa: E402

REPO = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def fake_binary():
    path = pathlib.Path(os.environ.get("QGUARD_FAKE_SERVE")
                        or REPO / "build" / "tests" / "http" / "qguard-fake-serve")
    assert path.is_file(), f"{path} is missing: run make first"
    return path


@pytest.fixture(scope="module")
def server(fake_binary):
    """One server for a whole file of tests, with the default limits but for slow headers."""
    with running([fake_binary, "--header-ms", "2000"]) as one:
        yield one


@pytest.fixture
def serve(fake_binary):
    """serve("--name", value, …) starts a server of its own; it must also end well."""
    with contextlib.ExitStack() as stack:
        yield lambda *args: stack.enter_context(running([fake_binary, *args]))
