"""The HTTP client (src/http/client.h) against a scripted server on this machine."""
import gzip
import os
import pathlib
import socket
import ssl
import struct
import subprocess
import time

import pytest

from peer import Peer

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
PROBE = pathlib.Path(os.environ.get("QGUARD_CLIENT_PROBE")
                     or REPO / "build" / "tests" / "http" / "qguard-client-probe")


class Scripted(Peer):
    """Requests are their bytes."""

    @staticmethod
    def read(conn):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = conn.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                while len(body) < int(line.split(b":")[1]):
                    body += conn.recv(65536)
        return head + b"\r\n\r\n" + body

    def url(self, path="/", host="127.0.0.1"):
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"


@pytest.fixture
def peer():
    made = []

    def make(script, tls=None):
        made.append(Scripted(script, tls))
        return made[-1]
    yield make
    for one in made:
        one.close()


def call(url, *options, timeout=30, env=None):
    done = subprocess.run([str(PROBE), url, *map(str, options)], capture_output=True,
                          timeout=timeout, env={**os.environ, **(env or {})})
    assert done.returncode == 0, done.stderr
    return done.stdout.decode("utf-8", "replace").splitlines()


def plain(body=b"hello", status=b"200 OK", more=b""):
    return lambda conn, request: conn.sendall(
        b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n" % len(body) + more + b"\r\n" + body)


def total(lines):
    return sum(int(line.split()[1]) for line in lines if line.startswith("data "))


def test_plain(peer):
    p = peer(plain(more=b"X-One: a b\r\n"))
    lines = call(p.url("/a?b=c"), "--show", "x-one", "--header", "X-Mine", "7")
    assert lines == ["head 200", "header x-one: a b", "data 5 hello", "done whole 200 5 "]
    head = p.requests[0].decode()
    assert head.startswith("GET /a?b=c HTTP/1.1\r\n") and "X-Mine: 7\r\n" in head
    assert "Accept-Encoding: identity\r\n" in head and "Expect" not in head


def test_post_and_reuse(peer):
    p = peer(plain())
    lines = call(p.url(), "--body", "x" * 3000, "--times", 3)
    assert lines.count("done whole 200 5 ") == 3
    assert p.connections == 1
    assert p.requests[2].startswith(b"POST / ") and p.requests[2].endswith(b"\r\n\r\n" + b"x" * 3000)


def test_many_at_once(peer):
    p = peer(plain(b"z" * 100000))
    lines = call(p.url(), "--at-once", 50, "--quiet")
    assert lines.count("done whole 200 100000 ") == 50


def test_status_is_no_failure_and_204_has_no_body(peer):
    assert call(peer(plain(b"no", b"503 Busy")).url())[-1] == "done whole 503 2 "
    p = peer(lambda conn, r: conn.sendall(b"HTTP/1.1 204 No Content\r\n\r\n"))
    assert call(p.url()) == ["head 204", "done whole 204 0 "]


def test_interim_answer_is_not_told(peer):
    p = peer(lambda conn, r: conn.sendall(
        b"HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"))
    assert call(p.url())[0] == "head 200"


def test_chunked_with_trailers_comes_piece_by_piece(peer):
    def script(conn, request):
        conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"one", b"two", b"three"):
            conn.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            time.sleep(0.05)
        conn.sendall(b"0\r\nX-Trailer: 1\r\n\r\n")
    lines = call(peer(script).url())
    assert lines == ["head 200", "data 3 one", "data 3 two", "data 5 three", "done whole 200 11 "]


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    b"HTTP/1.1 200 OK\r\nTransfer-Enc",
    b"",
])
def test_early_end(peer, answer):
    def script(conn, request):
        conn.sendall(answer)
        return False
    last = call(peer(script).url())[-1]
    assert last.startswith("done broken ") or (b"\r\n\r\n" not in answer and "protocol" in last)


def test_reset(peer):
    def script(conn, request):
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        time.sleep(0.1)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False
    lines = call(peer(script).url())
    assert lines[:2] == ["head 200", "data 3 abc"] and lines[-1].startswith("done broken 200 3 ")


@pytest.mark.parametrize("answer", [
    b"SSH-2.0-x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 40000 + b"\r\n\r\n",
])
def test_not_http(peer, answer):
    def script(conn, request):
        conn.sendall(answer)
        return False
    assert call(peer(script).url())[-1].split()[1] in ("protocol", "broken")


def test_nobody_there(peer):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        assert call(f"http://127.0.0.1:{port}/")[-1].startswith("done connect 0 0 ")
    assert call("http://nowhere.invalid/")[-1].startswith("done resolve 0 0 ")


def test_header_deadline(peer):
    def script(conn, request):
        conn.sendall(b"HTTP/1.1 200 OK\r\n")
        time.sleep(5)
    begun = time.monotonic()
    assert call(peer(script).url(), "--header-ms", 300)[-1].startswith("done late 0 0 no answer")
    assert time.monotonic() - begun < 4


def test_stall(peer):
    def script(conn, request):
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(3):
            time.sleep(0.2)
            conn.sendall(b"a")
        time.sleep(5)
    lines = call(peer(script).url(), "--stall-ms", 600, "--header-ms", 300)
    assert lines[-1].startswith("done stalled 200 3 ")


def test_total(peer):
    def script(conn, request):
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            time.sleep(0.05)
            conn.sendall(b"a")
    assert call(peer(script).url(), "--total-ms", 400)[-1].startswith("done late 200 ")


def test_pause_holds_the_sender_and_everything_comes(peer):
    size, sent = 64 * 1024 * 1024, []

    def script(conn, request):
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        block = b"x" * 65536
        for _ in range(size // len(block)):
            conn.sendall(block)
            sent.append(time.monotonic())
    lines = call(peer(script).url(), "--pause-after", 1000000, 700, "--stall-ms", 300, "--quiet")
    paused, resumed = lines.index("resume") - 1, lines.index("resume")
    assert lines[paused].startswith("pause at") and resumed == paused + 1
    gaps = [b - a for a, b in zip(sent, sent[1:])]
    assert max(gaps) > 0.4
    assert lines[-1] == f"done whole 200 {size} "


def test_no_data_behind_pause(peer):
    lines = call(peer(plain(b"x" * 300000)).url(), "--pause-after", 100, 200, "--buffer", 1024)
    at = next(i for i, line in enumerate(lines) if line.startswith("pause"))
    assert lines[at + 1] == "resume"
    assert all(int(line.split()[1]) <= 1024 for line in lines if line.startswith("data "))
    assert total(lines) == 300000


@pytest.mark.parametrize("how", ["--abort-after", "--refuse-after"])
def test_abort_closes_the_connection(peer, how):
    seen = []

    def script(conn, request):
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while True:
                conn.sendall(b"x" * 65536)
        except OSError:
            seen.append(True)
            raise
    assert call(peer(script).url(), how, 200000, "--quiet")[-1].startswith("done aborted 200 ")
    time.sleep(0.2)
    assert seen


def test_gzip(peer):
    packed = gzip.compress(b"a" * 1000000)
    p = peer(plain(packed, more=b"Content-Encoding: gzip\r\n"))
    assert call(p.url(), "--quiet")[-1] == f"done whole 200 {len(packed)} "
    assert call(p.url(), "--decode", "--quiet")[-1] == "done whole 200 1000000 "
    assert b"Accept-Encoding: identity\r\n" in p.requests[1]
    broken = peer(plain(packed[:-30] + b"?" * 30, more=b"Content-Encoding: gzip\r\n"))
    assert call(broken.url(), "--decode", "--quiet")[-1].startswith("done protocol 200 ")
    unknown = peer(plain(b"abc", more=b"Content-Encoding: rot13\r\n"))
    assert call(unknown.url(), "--decode", "--quiet")[-1].startswith("done protocol 200 ")


def redirecting(status=b"302 Found"):
    """/N/HOST goes on to N-1, / answers with what it was asked."""
    def script(conn, request):
        path = request.split()[1].decode()
        if path == "/":
            return plain(b"there", more=b"X-Seen: 1\r\n")(conn, request)
        left, host = path.strip("/").split("/")
        port = conn.getsockname()[1]
        to = f"http://{host}:{port}" + ("/" if left == "1" else f"/{int(left) - 1}/{host}")
        return plain(b"moved", status, b"Location: " + to.encode() + b"\r\n")(conn, request)
    return script


def test_redirects(peer):
    p = peer(redirecting())
    near, far = p.url("/3/127.0.0.1"), p.url("/1/localhost")
    assert call(near)[-1] == "done whole 302 5 "
    assert call(near, "--redirects", 3, "--show", "x-seen") == [
        "head 200", "header x-seen: 1", "data 5 there", "done whole 200 5 "]
    assert call(near, "--redirects", 2)[-1] == "done whole 302 5 "
    assert call(far, "--redirects", 3)[-1].startswith("done redirect 302 0 ")
    assert call(far, "--redirects", 3, "--allow", "other")[-1].startswith("done redirect ")
    p.requests.clear()
    secret = ("--header", "Authorization", "Bearer s", "--header", "X-Kept", "1")
    assert call(far, "--redirects", 3, "--allow", "localhost", *secret)[-1].startswith("done whole")
    assert b"Bearer s" in p.requests[0] and b"Bearer s" not in p.requests[1]
    assert b"X-Kept: 1" in p.requests[1]
    p.requests.clear()
    assert call(near, "--redirects", 3, *secret)[-1].startswith("done whole 200")
    assert b"Bearer s" in p.requests[-1]
    assert call(near, "--redirects", 3, "--body", "x")[-1] == "done whole 302 5 "


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/"])
def test_redirect_to_what_is_no_address(peer, to):
    p = peer(plain(b"", b"302 Found", f"Location: {to}\r\n".encode()))
    assert call(p.url(), "--redirects", 3)[-1].split()[1] in ("redirect", "protocol")


@pytest.mark.parametrize("url", [
    "file:///etc/passwd", "ftp://h/", "h", "http://", "http://u:p@h/", "http://u@h/", "http://h/#f",
    "http://h/a b", "http://h/\r\nX: y", "gopher://h/", "http:/\\h/", ""])
def test_addresses_refused(url):
    assert call(url)[-1].startswith("refused ")


@pytest.mark.parametrize("name,value", [("A", "b\r\nC: d"), ("A\n", "b"), ("A:", "b"), ("", "b")])
def test_headers_refused(name, value):
    assert call("http://127.0.0.1:9/", "--header", name, value)[-1].startswith("refused ")


def test_proxies_of_the_environment_only_when_asked(peer):
    proxy, real = peer(plain(b"proxy")), peer(plain(b"real"))
    env = {"http_proxy": proxy.url(), "no_proxy": "", "NO_PROXY": ""}
    assert "data 4 real" in call(real.url(), env=env)
    assert "data 5 proxy" in call(real.url(), "--proxy", env=env)


def test_waiting(peer):
    p = peer(plain(b"q" * 5000, more=b"ETag: e\r\n"))
    assert call(p.url(), "--fetch", 5000, "--show", "etag", "--show", "x-none") == [
        "fetch ok 200 5000 ", "header etag: e", "header x-none: "]
    assert call(p.url(), "--fetch", 4999)[-1].startswith("fetch too_long 200 ")
    assert call("http://nowhere.invalid/", "--fetch", 10)[-1].startswith("fetch io_error 0 0 ")


# ---- TLS -----------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate of an authority of our own for localhost, and one for another name."""
    folder = tmp_path_factory.mktemp("ca")

    def run(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
        "-subj", "/CN=test authority", "-days", "2")
    for name in ("localhost", "elsewhere.invalid"):
        (folder / "ext").write_text(f"subjectAltName=DNS:{name}\n")
        run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", "csr",
            "-subj", f"/CN={name}")
        run("x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", f"{name}.pem", "-days", "2", "-extfile", "ext")
    return folder


def tls_of(folder, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def test_tls(peer, authority):
    p = peer(plain(b"s" * 100000), tls_of(authority, "localhost"))
    url, ca = p.url(host="localhost"), ("--ca", authority / "ca.pem")
    assert call(url, *ca, "--times", 3, "--quiet").count("done whole 200 100000 ") == 3
    assert p.connections == 1
    assert call(url)[-1].startswith("done tls 0 0 ")
    assert call(url, "--ca", "/nonexistent")[-1].startswith("done tls 0 0 ")
    lines = call(url, *ca, "--pause-after", 100, 200, "--buffer", 1024)
    assert lines[next(i for i, s in enumerate(lines) if s.startswith("pause")) + 1] == "resume"
    assert total(lines) == 100000


def test_tls_of_another_name(peer, authority):
    p = peer(plain(), tls_of(authority, "elsewhere.invalid"))
    assert call(p.url(host="localhost"), "--ca", authority / "ca.pem")[-1].startswith("done tls 0 0")


def test_tls_to_a_plain_server(peer):
    class Rude(Scripted):
        @staticmethod
        def read(conn):
            return conn.recv(1)
    p = Rude(lambda conn, r: conn.sendall(b"HTTP/1.1 400 What\r\n\r\n"))
    assert call(p.url().replace("http:", "https:"), "--header-ms", 5000)[-1].startswith("done tls 0")
    p.listener.close()
