"""serve --uds PATH: the same server on a Unix socket."""
import os
import signal
import socket
import stat
import subprocess

import pytest
from wire import CHAT, Raw, chat_body, request


class UnixServer:
    def __init__(self, command, path):
        self.process = subprocess.Popen([*command, "--uds", str(path)], stderr=subprocess.PIPE, text=True)
        self.line = self.process.stderr.readline()

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        rest = self.process.communicate(timeout=60)[1]
        return self.process.returncode, self.line + rest


def ask(path, text="hi"):
    raw = Raw.__new__(Raw)
    raw.sock, raw.buffer = socket.socket(socket.AF_UNIX), b""
    raw.sock.settimeout(20)
    raw.sock.connect(str(path))
    with raw:
        return raw.send(request("POST", CHAT, chat_body(text))).answer()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "q.sock"


def test_answers_and_takes_its_file_away(fake_binary, path):
    server = UnixServer([fake_binary], path)
    assert server.line.startswith(f"listening on unix:{path} ")
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    assert [ask(path, text).text.split()[1] for text in ("hi", "bomb")] == ["Safe", "Unsafe"]
    code, log = server.stop()
    assert code == 0 and f'- "POST {CHAT}" 200' in log
    assert not path.exists()


def test_a_file_left_by_a_killed_server_is_replaced(fake_binary, path):
    UnixServer([fake_binary], path).stop(signal.SIGKILL)
    assert path.exists()
    server = UnixServer([fake_binary], path)
    assert ask(path).status == 200
    assert server.stop()[0] == 0


def test_a_server_that_lives_keeps_its_socket(fake_binary, path):
    server = UnixServer([fake_binary], path)
    second = UnixServer([fake_binary], path)
    code, log = second.process.wait(30), second.line
    assert code == 1 and f"{path}: cannot listen: Address already in use" in log
    assert ask(path).status == 200
    assert server.stop()[0] == 0


def test_nothing_but_a_socket_is_replaced(fake_binary, path):
    path.write_text("mine")
    server = UnixServer([fake_binary], path)
    assert server.process.wait(30) == 1 and "cannot listen" in server.line
    assert path.read_text() == "mine"


@pytest.mark.parametrize("bad, says", [("x" * 120, "has 1 to 107 bytes"), ("no/such/folder", "cannot listen")])
def test_paths_that_cannot_be(fake_binary, tmp_path, bad, says):
    server = UnixServer([fake_binary], tmp_path / bad)
    assert server.process.wait(30) == 1 and says in server.line
