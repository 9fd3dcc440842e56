"""What every Python test may ask for: the command, a way to run it, the folder of goldens."""
import http.client  # noqa: F401  before pytest makes a module of tests/http, which has the same name
import os
import pathlib
import subprocess

import pytest

REPO = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repo():
    """The root of the working tree."""
    return REPO


@pytest.fixture(scope="session")
def qguard():
    """Path of the command under test: QGUARD_BIN, else build/qguard."""
    path = pathlib.Path(os.environ.get("QGUARD_BIN") or REPO / "build" / "qguard").resolve()
    assert path.is_file(), f"{path} is missing: run make first"
    return path


@pytest.fixture(scope="session")
def run_qguard(qguard):
    """run_qguard("check", "text", input="…") -> CompletedProcess with text output."""

    def run(*args, input="", timeout=60, env=None, **more):
        return subprocess.run(
            [str(qguard), *map(str, args)], input=input, capture_output=True, encoding="utf-8",
            timeout=timeout, env={**os.environ, **(env or {})}, **more)

    return run


@pytest.fixture(scope="session")
def shared():
    """The folder of goldens and real tokenizer files: QGUARD_SHARED, else ../shared; or skip."""
    path = pathlib.Path(os.environ.get("QGUARD_SHARED") or REPO.parent / "shared")
    if not (path / "goldens").is_dir():
        pytest.skip(f"no goldens at {path} (set QGUARD_SHARED)")
    return path
