"""A log that nobody reads stops nobody."""
import os
import re
import signal
import subprocess

import pytest

from wire import Raw, request


@pytest.fixture
def deaf(qguard):
    """A server whose log is read up to the line with the port, and no further."""
    process = subprocess.Popen([qguard, "serve", "--port", "0", "--quiet"], stderr=subprocess.PIPE, bufsize=0)
    log = b""
    while not (found := re.search(rb"listening on http://127\.0\.0\.1:(\d+) ", log)):
        piece = os.read(process.stderr.fileno(), 4096)
        assert piece, log
        log += piece
    process.port = int(found[1])
    yield process
    process.kill()
    process.wait()
    process.stderr.close()


def ask(port, n):
    """n requests on one connection, each of which writes a long line."""
    with Raw(port) as raw:
        for _ in range(n // 50):
            raw.send(request("GET", "/version", None, ["X-Request-Id: " + "i" * 120]) * 50)
            for _ in range(50):
                assert raw.answer().status == 200


def test_answers_go_on_and_the_loss_is_told(deaf):
    ask(deaf.port, 5000)
    log = b""
    while b"are missing here" not in log:
        log += os.read(deaf.stderr.fileno(), 1 << 16)
    lost = int(re.search(rb"^qguard: (\d+) lines of this log are missing here", log, re.M)[1])
    assert 0 < lost < 5000
    ask(deaf.port, 50)


def test_it_ends_although_nobody_reads(deaf):
    ask(deaf.port, 1000)
    deaf.send_signal(signal.SIGTERM)
    assert deaf.wait(30) == 0
