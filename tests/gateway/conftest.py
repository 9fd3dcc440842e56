"""The gateway under test: src/gateway on the fake engine, one process for each test that asks."""
import contextlib
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from scripted import REPO, Gateway, Upstream  # noqa: E402


@pytest.fixture(scope="session")
def fake_gateway_binary():
    path = pathlib.Path(os.environ.get("QGUARD_FAKE_GATEWAY")
                        or REPO / "build" / "tests" / "gateway" / "qguard-fake-gateway")
    assert path.is_file(), f"{path} is missing: run make first"
    return path


@pytest.fixture
def upstream():
    with contextlib.ExitStack() as stack:
        def make(script, tls=None):
            one = Upstream(script, tls)
            stack.callback(one.close)
            return one
        yield make


@pytest.fixture
def gateway(fake_gateway_binary, tmp_path):
    """gateway(upstream, …, policy="yaml text", option=value) starts one; it must also end well."""
    made = []

    def make(*upstreams, policy=None, **options):
        command = [str(fake_gateway_binary)]
        for one in upstreams:
            command += ["--upstream", one if isinstance(one, str) else one.url]
        if policy is not None:
            path = tmp_path / f"policy{len(made)}.yaml"
            path.write_text("version: 1\n" + policy)
            command += ["--policy", str(path)]
        for name, value in options.items():
            for item in value if isinstance(value, list) else [value]:
                command += ["--" + name.replace("_", "-"), str(item)]
        made.append(Gateway(command))
        return made[-1]
    yield make
    for one in made:
        status = one.stop()
        assert status == 0, f"status {status}: {one.lines[-40:]}"
