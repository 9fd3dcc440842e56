"""Slow clients: every phase has an absolute deadline, and one client never holds up another."""
import socket
import time

import pytest

from wire import CHAT, chat_body, request

BODY = chat_body("echo=mine")
START = request("POST", CHAT, BODY)


def trickle(raw, data, pause=0.05, seconds=20):
    """Sends a byte at a time for ever; what the server said by the time it closed."""
    end = time.monotonic() + seconds
    raw.sock.settimeout(pause)
    at = 0
    while time.monotonic() < end:
        try:
            raw.sock.send(data[at:at + 1])
            at = at + 1 if at + 1 < len(data) else at
            if not raw.fill():
                return raw.buffer
        except TimeoutError:
            pass
        except OSError:
            return raw.buffer
    pytest.fail("the server keeps the connection")


@pytest.mark.parametrize("start, data, status", [
    (b"", b"GET /" + b"a" * 1000, b""),
    (b"GET /health HTTP/1.1\r\nHost: x\r\nX: ", b"a" * 1000, b" 408 "),
    (b"GET /health HTTP/1.1\r\n", b"X: a\r\n" * 1000, b" 408 ")], ids=["line", "value", "headers"])
def test_header_deadline(serve, start, data, status):
    server = serve("--header-ms", 400)
    with server.open() as raw:
        raw.send(start)
        said = trickle(raw, data, pause=0.02)
        assert status in said and b" 200 " not in said
    assert server.get("/health").status == 200


def test_silent_connection(serve):
    server = serve("--header-ms", 300)
    with server.open() as raw:
        assert raw.closed()


def test_body_deadline(serve):
    """A byte now and then never moves the deadline."""
    server = serve("--body-ms", 500)
    with server.open() as raw:
        raw.send(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" % CHAT.encode())
        said = trickle(raw, b"x" * 90000, pause=0.01)
        assert b" 408 " in said and b'"RequestTimeoutError"' in said


def test_body_rate(serve):
    server = serve("--body-rate", 1000000, "--body-grace-ms", 200)
    with server.open() as raw:
        raw.send(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" % CHAT.encode())
        assert b" 408 " in trickle(raw, b"x" * 90000, pause=0.01)
    assert server.post(BODY).text == "echo: mine"


def test_idle_deadline(serve):
    server = serve("--idle-ms", 300)
    with server.open() as raw:
        assert raw.send(START).answer().status == 200
        assert raw.closed()


def test_work_has_no_socket_deadline(serve):
    """While the engine works the client has nothing to do; only the request's own deadline counts."""
    server = serve("--idle-ms", 100, "--header-ms", 100, "--body-ms", 100, "--write-ms", 100)
    assert server.chat("sleep=800 echo=late").text == "echo: late"


def test_reader_that_does_not_read(serve):
    """Answers pile up for a client that only sends; it is cut off, and the others never notice."""
    server = serve("--write-ms", 700)
    raw = server.open()
    raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.sock.settimeout(0.2)
    data = request("POST", CHAT, chat_body("bomb", n=128, stream=True)) * 50
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            raw.sock.send(data)
        except TimeoutError:
            assert server.chat("echo=other").text == "echo: other"
        except OSError:
            break
    else:
        pytest.fail("the server keeps the connection")
    raw.close()


def test_slow_reader_gets_everything(server):
    with server.open() as raw:
        raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.send(request("POST", CHAT, chat_body("bomb", n=128, stream=True)))
        time.sleep(0.3)
        answer = raw.answer()
        assert answer.body.count(b"data: ") == 128 * 3 + 1
        assert answer.body.endswith(b"data: [DONE]\n\n")


def test_many_slow_clients_do_not_hold_up_others(serve):
    server = serve("--header-ms", 3000)
    slow = [server.open().send(b"GET /health HTTP/1.1\r\nX: ") for _ in range(200)]
    for _ in range(20):
        assert server.chat("echo=quick").text == "echo: quick"
    for raw in slow:
        assert b" 408 " in raw.rest()
