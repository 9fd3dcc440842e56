"""Raw HTTP for the tests: bytes out, answers in, and the process of a server."""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

CHAT = "/v1/chat/completions"


def chat_body(text="hi", **more):
    return json.dumps({"messages": [{"role": "user", "content": text}], **more}).encode()


def request(method, path, body=None, headers=()):
    """The bytes of a request with a right Content-Length."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


class Answer:
    """One answer read from a raw socket."""

    def __init__(self, head, body):
        lines = head.decode("latin-1").split("\r\n")
        self.version, status, self.reason = (lines[0].split(" ", 2) + [""])[:3]
        self.status = int(status)
        self.headers = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            self.headers[name.strip().lower()] = value.strip()
        self.body = body

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        error = self.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        assert isinstance(error["message"], str) and isinstance(error["type"], str)
        assert error["code"] is None or isinstance(error["code"], str)
        return error

    @property
    def text(self):
        return self.json()["choices"][0]["message"]["content"]


class Raw:
    """A raw connection; EOF and resets read alike."""

    def __init__(self, port, timeout=20):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.buffer = b""

    def send(self, data):
        self.sock.sendall(data)
        return self

    def fill(self):
        try:
            piece = self.sock.recv(65536)
        except ConnectionError:
            piece = b""
        self.buffer += piece
        return bool(piece)

    def until(self, mark):
        while mark not in self.buffer:
            if not self.fill():
                raise EOFError(f"closed after {self.buffer!r}")
        head, self.buffer = self.buffer.split(mark, 1)
        return head

    def take(self, n):
        while len(self.buffer) < n:
            if not self.fill():
                raise EOFError(f"closed after {self.buffer!r}")
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def chunks(self):
        body = b""
        while size := int(self.until(b"\r\n"), 16):
            body += self.take(size)
            assert self.take(2) == b"\r\n"
        assert self.take(2) == b"\r\n"
        return body

    def answer(self, head_only=False):
        answer = Answer(self.until(b"\r\n\r\n"), b"")
        if head_only or answer.status in (100, 204):
            return answer
        if answer.headers.get("transfer-encoding") == "chunked":
            answer.body = self.chunks()
        elif "content-length" in answer.headers:
            answer.body = self.take(int(answer.headers["content-length"]))
        else:
            answer.body = self.rest()
        return answer

    def rest(self):
        while self.fill():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def closed(self):
        """True when the server ends the connection without another byte."""
        return self.rest() == b""

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Server:
    def __init__(self, command, env=None):
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                        text=True, env={**os.environ, **(env or {})})
        self.lines = []
        self.ready = threading.Event()
        self.port = None
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.ready.wait(60)
        assert self.port, f"the server did not start: {self.lines}"

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if found := re.search(r"listening on http://\S+:(\d+)( |$)", line):
                self.port = int(found[1])
                self.ready.set()
        self.ready.set()

    def open(self, **more):
        return Raw(self.port, **more)

    def raw(self, data, **more):
        """Sends bytes on a connection of their own and reads one answer."""
        with self.open() as raw:
            return raw.send(data).answer(**more)

    def get(self, path, headers=(), method="GET"):
        return self.raw(request(method, path, None, headers), head_only=method == "HEAD")

    def post(self, body, path=CHAT, headers=()):
        return self.raw(request("POST", path, body, headers))

    def chat(self, text="hi", **more):
        return self.post(chat_body(text, **more))

    def wait_for_line(self, words, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if any(words in line for line in self.lines):
                return True
            time.sleep(0.02)
        return False

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self, seconds=60):
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.terminate()
        status = self.process.wait(seconds)
        self.reader.join(5)
        return status


@contextlib.contextmanager
def running(command):
    """A server for as long as the block lasts; it must also end well."""
    server = Server([str(word) for word in command])
    try:
        yield server
    finally:
        status = server.stop()
    assert status == 0, f"status {status}: {server.lines[-40:]}"
