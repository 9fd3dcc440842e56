"""The Python package from the tree, on the library that was just built."""
import os
import pathlib
import sys
import warnings

import pytest

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("QGUARD_BIN") or REPO / "build" / "qguard").resolve().parent

os.environ.setdefault("QGUARD_LIBRARY", str(BUILD / "libqguard.so"))
os.environ.setdefault("QGUARD_HEADER", str(REPO / "include" / "qguard.h"))
sys.path.insert(0, str(REPO / "python" / "src"))


@pytest.fixture(scope="session")
def guard():
    """The built-in Gen model."""
    from qguard import Guard

    with Guard(quiet=True) as one:
        yield one


@pytest.fixture(scope="session")
def stream_guard():
    """The built-in Stream model."""
    from qguard import Guard

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Guard("qguard-demo-stream", quiet=True) as one:
            yield one
