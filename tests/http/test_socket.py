"""GET /v1/moderations/ws: the same messages over a WebSocket, spoken here by hand."""
import base64
import hashlib
import json
import os
import struct
import time

import pytest

WS = "/v1/moderations/ws"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@pytest.fixture(scope="module")
def server(fake_binary):
    from wire import running
    with running([fake_binary, "--stream-model", "stream"]) as one:
        yield one


def hello(key, *more, path=WS, drop=None, method="GET", version="HTTP/1.1"):
    headers = {"Host": "x", "Upgrade": "websocket", "Connection": "keep-alive, Upgrade",
               "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"}
    headers.pop(drop, None)
    lines = [f"{method} {path} {version}", *[f"{k}: {v}" for k, v in headers.items()], *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def frame(opcode, data=b"", fin=True, mask=True, rsv=0):
    head = bytes([fin << 7 | rsv << 4 | opcode])
    n = len(data)
    if n < 126:
        head += bytes([mask << 7 | n])
    elif n < 65536:
        head += bytes([mask << 7 | 126]) + struct.pack(">H", n)
    else:
        head += bytes([mask << 7 | 127]) + struct.pack(">Q", n)
    if not mask:
        return head + data
    key = os.urandom(4)
    return head + key + bytes(b ^ key[i % 4] for i, b in enumerate(data))


class Socket:
    def __init__(self, server, *headers, **more):
        key = base64.b64encode(os.urandom(16)).decode()
        self.raw = server.open(**more)
        self.raw.send(hello(key, *headers))
        answer = self.raw.answer(head_only=True)
        assert answer.status == 101, answer.status
        assert answer.headers["upgrade"] == "websocket"
        assert answer.headers["connection"].lower() == "upgrade"
        accept = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
        assert answer.headers["sec-websocket-accept"] == accept
        self.id = answer.headers["x-request-id"]

    def say(self, *messages):
        for m in messages:
            data = m if isinstance(m, bytes) else json.dumps(m).encode()
            self.raw.send(frame(TEXT, data))
        return self

    def frame(self):
        first, second = self.raw.take(2)
        assert first & 0x80 and not second & 0x80  # whole messages; a server does not mask
        n = second & 127
        if n == 126:
            n = struct.unpack(">H", self.raw.take(2))[0]
        elif n == 127:
            n = struct.unpack(">Q", self.raw.take(8))[0]
        return first & 15, self.raw.take(n)

    def line(self):
        opcode, data = self.frame()
        assert opcode == TEXT, (opcode, data)
        return json.loads(data)

    def until_summary(self):
        tokens = []
        while "summary" not in (line := self.line()):
            assert "error" not in line, line
            tokens.append(line)
        return tokens, line["summary"]

    def code(self):
        """The close code; the connection ends after the client's own close frame."""
        opcode, data = self.frame()
        assert opcode == CLOSE, (opcode, data)
        code = struct.unpack(">H", data[:2])[0] if data else 1005
        try:
            self.raw.send(frame(CLOSE, data[:2]))
        except OSError:
            pass
        assert self.raw.closed()
        return code


def test_conversation(server):
    ws = Socket(server).say({"role": "user", "content": "a bomb?", "end": True})
    tokens, summary = ws.until_summary()
    assert [t["role"] for t in tokens] == ["user"] and summary["flagged"]
    ws.say({"role": "assistant", "content": "ab"})
    tokens, summary = ws.until_summary()
    assert [t["final"] for t in tokens] == [True, False]
    ws.say({"end": True})
    tokens, summary = ws.until_summary()
    assert [t["final"] for t in tokens] == [True] and summary["n_provisional"] == 0
    ws.raw.send(frame(CLOSE, struct.pack(">H", 1000)))
    assert ws.frame() == (CLOSE, struct.pack(">H", 1000))
    assert ws.raw.closed()


def test_many_messages_at_once(server):
    ws = Socket(server).say(*[{"content": "x"} for _ in range(200)])
    for i in range(200):
        assert ws.until_summary()[1]["n_tokens"] == i + 2
    ws.raw.close()


def test_message_with_line_breaks(server):
    ws = Socket(server).say(b'{\n "content":\r\n "x"\n}\n')
    assert len(ws.until_summary()[0]) == 1
    ws.raw.close()


def test_fragments_and_bytes(server):
    """A message in fragments, a ping in between, and everything byte by byte."""
    data = json.dumps({"content": "\u00e4"}, ensure_ascii=False).encode()
    ws = Socket(server)
    wire = (frame(TEXT, data[:5], fin=False) + frame(PING, b"p") + frame(0, b"", fin=False)
            + frame(0, data[5:13], fin=False) + frame(0, data[13:]))
    for byte in wire:
        ws.raw.send(bytes([byte]))
    assert ws.frame() == (PONG, b"p")
    assert len(ws.until_summary()[0]) == 2
    ws.raw.close()


REFUSED = [("no upgrade", dict(drop="Upgrade"), 426), ("no connection", dict(drop="Connection"), 426),
           ("no key", dict(drop="Sec-WebSocket-Key"), 400), ("no version", dict(drop="Sec-WebSocket-Version"), 426),
           ("HTTP/1.0", dict(version="HTTP/1.0"), 400), ("HEAD", dict(method="HEAD"), 400)]


@pytest.mark.parametrize("name, how, status", REFUSED, ids=[r[0] for r in REFUSED])
def test_handshake_refused(server, name, how, status):
    with server.open() as raw:
        answer = raw.send(hello("dGhlIHNhbXBsZSBub25jZQ==", **how)).answer(head_only=name == "HEAD")
        assert answer.status == status
        if status == 426:
            assert answer.headers["sec-websocket-version"] == "13"
    assert server.get("/health").status == 200


@pytest.mark.parametrize("key", ["", "x", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ", "!" * 24,
                                 "dGhlIHNhbXBsZSBub25jZQ==x", "A" * 24])
def test_odd_keys(server, key):
    assert server.raw(hello(key)).status == 400


# wslay names no code (1005) for two of the frames that RFC 6455 forbids
WRONG = {
    "binary": (frame(BINARY, b"{}"), 1003), "not UTF-8": (frame(TEXT, b'{"content":"\xff"}'), 1007),
    "half a character": (frame(TEXT, b'{"content":"\xc3'), 1007), "not masked": (frame(TEXT, b"{}", mask=False), 1002),
    "reserved bit": (frame(TEXT, b"{}", rsv=4), 1002), "odd opcode": (frame(5, b""), 1002),
    "continuation first": (frame(0, b"x"), 1002), "long ping": (frame(PING, b"x" * 126), 1005),
    "ping in fragments": (frame(PING, b"x", fin=False), 1005), "too long": (frame(TEXT, b"x" * 300000), 1009),
    "too long in fragments": (frame(TEXT, b"x" * 200000, fin=False) + frame(0, b"x" * 200000, fin=False), 1009),
}


@pytest.mark.parametrize("name", WRONG)
def test_protocol_errors(server, name):
    wire, code = WRONG[name]
    ws = Socket(server)
    try:
        ws.raw.send(wire)
    except OSError:
        pass
    assert ws.code() == code
    assert server.get("/health").status == 200


@pytest.mark.parametrize("message, status", [
    (b"{", 400), (b"[]", 400), ({"contnet": "x"}, 400), ({"content": "nan"}, 500), ({"content": "gone"}, 410),
    ({"content": "x" * 5000}, 400), ({"content": "busy"}, 429)])
def test_errors(server, message, status):
    ws = Socket(server).say({"content": "x"})
    ws.until_summary()
    ws.say(message)
    assert ws.line()["error"]["message"]
    assert ws.code() == (1011 if status == 500 else 1008)


def test_ping_and_too_idle(serve):
    """Silence is answered by a ping, silence after that by the end."""
    server = serve("--stream-model", "stream", "--talk-ms", 300)
    ws = Socket(server)
    for _ in range(3):
        assert ws.frame() == (PING, b"")
        ws.raw.send(frame(PONG))
    assert ws.frame()[0] == PING
    assert ws.line()["error"]["code"] == "idle"
    assert ws.code() == 1008


def test_back_pressure(serve):
    server = serve("--stream-model", "stream", "--drain-ms", 200)
    ws = Socket(server).say({"content": "hang"})
    time.sleep(0.2)
    piece = frame(TEXT, b'{"content":"' + b"y" * 5000 + b'"}') * 10
    ws.raw.sock.settimeout(1)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 64 << 20:
            sent += ws.raw.sock.send(piece)
    assert sent < 16 << 20
    assert server.get("/health").status == 200


def test_pings_that_nobody_reads(serve):
    """Answers to pings do not pile up: the client is no longer read from."""
    server = serve("--stream-model", "stream", "--write-ms", 2000)
    ws = Socket(server)
    piece = frame(PING, b"x" * 100) * 1000
    ws.raw.sock.settimeout(1)
    with pytest.raises(OSError):
        for _ in range(1000):
            ws.raw.sock.sendall(piece)
    with open(f"/proc/{server.process.pid}/status") as status:
        peak = next(int(row.split()[1]) for row in status if row.startswith("VmHWM"))
    assert peak < 60 << 10  # kB


@pytest.mark.parametrize("start", [[], [{"content": "x"}], [{"content": "hang"}], [b'{"content":"sleep=20"}'] * 5])
def test_clients_that_vanish(serve, start):
    server = serve("--stream-model", "stream", "--max-sessions", 5, "--request-timeout-ms", 0)
    for i in range(30):
        ws = Socket(server).say(*start)
        if i % 2:
            ws.raw.send(b"\x81")
        ws.raw.close()
    end = time.monotonic() + 20
    while True:
        ws = Socket(server).say({"content": "x"})
        if "error" not in ws.line():
            break
        ws.raw.close()
        assert time.monotonic() < end
        time.sleep(0.05)


def test_stop(serve):
    """Going away, after what is under way."""
    server = serve("--stream-model", "stream")
    idle, busy = Socket(server), Socket(server).say({"content": "sleep=500 x"})
    time.sleep(0.1)
    server.terminate()
    assert idle.code() == 1001
    assert "tokens" not in busy.until_summary()[1]
    assert busy.code() == 1001
    assert server.process.wait(20) == 0


def test_keys(serve):
    server = serve("--stream-model", "stream", "--api-key", "k")
    assert server.raw(hello("dGhlIHNhbXBsZSBub25jZQ==")).status == 401
    ws = Socket(server, "Authorization: Bearer k", "X-Request-Id: mine")
    assert ws.id == "mine"
    ws.raw.close()


def test_no_stream_model(serve):
    ws = Socket(serve()).say({"content": "x"})
    assert "--stream-model" in ws.line()["error"]["message"]
    assert ws.code() == 1008
