"""Raw bytes: framing that must be refused, limits, odd but legal requests."""
import time

import pytest

from wire import CHAT, Raw, chat_body, request

BODY = chat_body("echo=mine")
SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"


def head(*lines, method="POST", path=CHAT, version="HTTP/1.1"):
    return "\r\n".join([f"{method} {path} {version}", *lines]).encode("latin-1") + b"\r\n\r\n"


LENGTH = f"Content-Length: {len(BODY)}"
REFUSED = {
    "two lengths": head("Host: x", LENGTH, "Content-Length: 3") + BODY,
    "the same length twice": head("Host: x", LENGTH, LENGTH) + BODY,
    "length and chunked": head("Host: x", LENGTH, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunked and length": head("Host: x", "Transfer-Encoding: chunked", "Content-Length: 0") + b"0\r\n\r\n",
    "chunked twice": head("Host: x", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunked twice in one": head("Host: x", "Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n",
    "gzip, chunked": head("Host: x", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "identity": head("Host: x", "Transfer-Encoding: identity"),
    "unknown coding": head("Host: x", "Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "empty coding": head("Host: x", "Transfer-Encoding: ") + b"0\r\n\r\n",
    "two hosts": head("Host: x", "Host: y", LENGTH) + BODY,
    "the same host twice": head("Host: x", "host: x", LENGTH) + BODY,
    "no host": head(LENGTH) + BODY,
    "negative length": head("Host: x", "Content-Length: -1") + BODY,
    "signed length": head("Host: x", f"Content-Length: +{len(BODY)}") + BODY,
    "list of lengths": head("Host: x", f"Content-Length: {len(BODY)}, {len(BODY)}") + BODY,
    "hex length": head("Host: x", "Content-Length: 0x10") + BODY,
    "huge length": head("Host: x", "Content-Length: 99999999999999999999999") + BODY,
    "space before the colon": head("Host: x", f"Content-Length : {len(BODY)}") + BODY,
    "odd character in a name": head("Host: x", "X(y): 1", LENGTH) + BODY,
    "control character in a value": head("Host: x", "X-Y: a\x01b", LENGTH) + BODY,
    "chunked in HTTP/1.0": head("Host: x", "Transfer-Encoding: chunked", version="HTTP/1.0") + b"0\r\n\r\n",
    "GET with two lengths": head("Host: x", "Content-Length: 0", "Content-Length: 40", method="GET",
                                 path="/health"),
    "too many headers": head("Host: x", *[f"X-{i}: 1" for i in range(120)], LENGTH) + BODY,
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_closed(server, name):
    """400 and the end of the connection: what follows is never read as a request."""
    with server.open() as raw:
        raw.send(REFUSED[name] + SMUGGLED)
        answer = raw.answer()
        assert answer.status in (400, 413), answer.body
        assert answer.status == 400 or name == "huge length"
        assert answer.headers.get("connection", "").lower() == "close"
        # what libmicrohttpd 0.9.75 refuses itself carries its header twice; never a second answer
        assert b" 200 " not in raw.rest()
    assert server.get("/health").status == 200


GARBAGE = [b"\r\n\r\n\r\n", b"\x00" * 4096, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 40,
           b"GET\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
           b"GET / HTTP/1.1\r\n: x\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"\xff" * 100000,
           b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200000,
           b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
           b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
           b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
           b"ffffffffffffffffffff\r\n", b"A" * 70000 + b" / HTTP/1.1\r\n\r\n"]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage(server, data):
    with server.open() as raw:
        try:
            raw.send(data)
            raw.sock.shutdown(1)
        except OSError:
            pass
        assert b" 200 " not in raw.rest()
    assert server.chat("echo=alive").text == "echo: alive"


def test_every_prefix_of_a_request(server):
    """A client may hang up anywhere; the server must not mind."""
    whole = request("POST", CHAT, BODY)
    for n in range(len(whole)):
        with server.open() as raw:
            raw.send(whole[:n])
    assert server.chat("echo=alive").text == "echo: alive"


def test_byte_by_byte(server):
    with server.open() as raw:
        for byte in request("POST", CHAT, BODY):
            raw.send(bytes([byte]))
        assert raw.answer().text == "echo: mine"


def chunked(body, step):
    pieces = [body[i:i + step] for i in range(0, len(body), step)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_chunked_body(server, step):
    data = head("Host: x", "Transfer-Encoding: chunked") + chunked(BODY, step)
    with server.open() as raw:
        assert raw.send(data).answer().text == "echo: mine"
        assert raw.send(data).answer().text == "echo: mine"


def test_pipelining(server):
    with server.open() as raw:
        raw.send(b"".join(request("POST", CHAT, chat_body(f"echo={i}")) for i in range(40)))
        assert [raw.answer().text for _ in range(40)] == [f"echo: {i}" for i in range(40)]
        slow = request("POST", CHAT, chat_body("sleep=100 echo=slow"))
        raw.send(slow + request("GET", "/health") + slow)
        assert raw.answer().text == "echo: slow"
        assert raw.answer().status == 200
        assert raw.answer().text == "echo: slow"


def test_http_1_0(server):
    with server.open() as raw:
        raw.send(head(LENGTH, version="HTTP/1.0") + BODY)
        assert raw.answer().text == "echo: mine"
        assert raw.closed()
    body = chat_body("bomb", stream=True)
    with server.open() as raw:
        raw.send(head(f"Content-Length: {len(body)}", version="HTTP/1.0") + body)
        answer = raw.answer()
        assert "transfer-encoding" not in answer.headers
        assert answer.body.endswith(b"data: [DONE]\n\n")


def test_connection_close(server):
    with server.open() as raw:
        raw.send(request("GET", "/health", headers=["Connection: close"]))
        assert raw.answer().status == 200
        assert raw.closed()


def test_expect_continue(server):
    with server.open() as raw:
        raw.send(head("Host: x", LENGTH, "Expect: 100-continue"))
        assert raw.answer().status == 100
        assert raw.send(BODY).answer().text == "echo: mine"
    with server.open() as raw:  # refused before the body is sent
        raw.send(head("Host: x", LENGTH, "Expect: 100-continue", path="/nope"))
        assert raw.answer().status == 404
    assert server.raw(head("Host: x", LENGTH, "Expect: magic") + BODY).status == 417


def test_requests_per_connection(serve):
    server = serve("--conn-requests", 3)
    with server.open() as raw:
        for i in range(3):
            answer = raw.send(request("GET", "/health")).answer()
            assert (answer.headers.get("connection") == "close") == (i == 2)
        assert raw.closed()


def test_uri_limit(serve):
    server = serve("--uri-bytes", 100)
    assert server.get("/health?" + "x" * 92).status == 200
    answer = server.get("/health?" + "x" * 93)
    assert answer.status == 414 and answer.error["param"] is None


def test_header_limit(server):
    assert server.get("/health", headers=["X: " + "a" * 30000]).status == 200
    for n in (33000, 100000):
        with server.open() as raw:
            raw.send(request("GET", "/health", headers=["X: " + "a" * n]))
            assert raw.answer().status == 431
            assert raw.closed()


@pytest.mark.parametrize("n", [1, 98])
def test_headers_up_to_their_limit(server, n):
    """Their bytes and their table fit the library's memory of a connection, with a body and its answer behind them."""
    headers = [f"X-{i:03d}: " + "a" * (32600 // n - 9) for i in range(n)]
    assert server.post(chat_body("echo=me " + "x" * 50000), headers=headers).status == 200


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_body_limit_while_it_arrives(serve, coding):
    """413 comes before the body is in, and can be read although the client goes on sending."""
    server = serve("--body-bytes", 100000)
    if coding == "length":
        start = head("Host: x", "Content-Length: 50000000")
        piece = b"x" * 10000
    else:
        start = head("Host: x", "Transfer-Encoding: chunked")
        piece = b"2710\r\n" + b"x" * 10000 + b"\r\n"
    with server.open() as raw:
        raw.send(start)
        for _ in range(12):
            raw.send(piece)
        answer = raw.answer()
        assert answer.status == 413 and answer.headers["connection"] == "close"
        assert answer.error["message"]
        assert raw.closed()
    body = chat_body("echo=fits" + " " * (100000 - 65))
    assert server.post(body[:100000] if len(body) > 100000 else body).text == "echo: fits"


def test_all_bodies_together(serve):
    server = serve("--body-bytes-total", 150000)
    first = server.open().send(head("Host: x", "Content-Length: 100000") + b"x" * 99000)
    time.sleep(0.2)
    with server.open() as raw:
        raw.send(head("Host: x", "Content-Length: 100000") + b"x" * 99000)
        answer = raw.answer()
        assert answer.status == 503 and answer.headers["retry-after"] == "1"
    first.close()
    deadline = time.monotonic() + 10
    while server.chat("echo=free " + "x" * 99000).status != 200:
        assert time.monotonic() < deadline


def test_large_body(server):
    body = chat_body("echo=big " + "é" * 600000)
    assert server.post(body).text == "echo: big"


@pytest.mark.parametrize("limit", ["--connections", "--connections-addr"])
def test_connection_limits(serve, limit):
    server = serve(limit, 4)
    held = [server.open() for _ in range(4)]
    for raw in held:
        assert raw.send(request("GET", "/health")).answer().status == 200
    try:
        with server.open(timeout=0.5) as extra:
            extra.send(request("GET", "/health"))
            assert extra.rest() == b""
    except (TimeoutError, ConnectionError):
        pass  # waits in the backlog, or was turned away
    for raw in held:
        raw.close()
    end = time.monotonic() + 10
    while True:
        try:
            assert server.get("/health").status == 200
            break
        except (EOFError, ConnectionError):
            assert time.monotonic() < end


def test_known_gaps(server):
    """obs-fold and bare LF: libmicrohttpd 0.9.75 takes them before we can see them (docs/API.md).
    Whatever a version does, one request stays one request and the body is read by its length."""
    for data in (b"POST %s HTTP/1.1\nHost: x\n%s\n\n%s" % (CHAT.encode(), LENGTH.encode(), BODY),
                 head("Host: x", "X-Fold: a\r\n b", LENGTH) + BODY):
        with server.open() as raw:
            raw.send(data)
            raw.sock.shutdown(1)
            text = raw.rest()
            assert text.count(b"HTTP/1.1 ") <= 1
            assert not text or b" 400 " in text or b"echo: mine" in text


def test_two_servers_on_one_port(serve, fake_binary):
    import subprocess
    server = serve()
    done = subprocess.run([fake_binary, "--port", str(server.port)], capture_output=True, text=True,
                          timeout=30)
    assert done.returncode == 1 and "cannot listen" in done.stderr
    done = subprocess.run([fake_binary, "--host", "no.such.host.invalid"], capture_output=True,
                          text=True, timeout=30)
    assert done.returncode == 1 and "no.such.host.invalid" in done.stderr
    done = subprocess.run([fake_binary, "--model", "missing"], capture_output=True, text=True,
                          timeout=30)
    assert done.returncode == 1 and "no such model" in done.stderr


def test_ipv6(fake_binary):
    import socket

    from wire import running
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as why:
        pytest.skip(f"no IPv6 here: {why}")
    with running([fake_binary, "--host", "::1"]) as server:
        raw = Raw.__new__(Raw)
        raw.sock, raw.buffer = socket.create_connection(("::1", server.port), timeout=10), b""
        assert raw.send(request("GET", "/health")).answer().status == 200
        raw.close()
