"""The live view at the socket: what watchers are told, who may watch, and that nobody waits."""
import json
import socket
import subprocess
import threading
import time

import pytest
from scripted import saying, text_of
from wire import Raw, request

KEY = "the-admin"


class Watcher:
    """Reads /v1/admin/live on a thread; events are (name, data)."""

    def __init__(self, g, key=KEY):
        self.raw = Raw(g.port)
        self.raw.send(request("GET", "/v1/admin/live", headers=[f"Authorization: Bearer {key}"]))
        self.head = self.raw.answer(head_only=True)
        self.events, self.over = [], threading.Event()
        if self.head.status == 200:
            threading.Thread(target=self.read, daemon=True).start()
            self.wait("hello")

    def read(self):
        rest = b""
        try:
            while size := int(self.raw.until(b"\r\n"), 16):
                rest += self.raw.take(size)
                self.raw.take(2)
                *blocks, rest = rest.split(b"\n\n")
                for block in blocks:
                    lines = block.decode().split("\n")
                    if lines[0].startswith("event: "):
                        self.events.append((lines[0][7:], json.loads(lines[1][6:])))
        except (EOFError, OSError):
            return
        self.over.set()

    def of(self, name):
        return [data for one, data in self.events if one == name]

    def wait(self, name, n=1, seconds=10):
        end = time.monotonic() + seconds
        while len(self.of(name)) < n and time.monotonic() < end:
            time.sleep(0.01)
        assert len(self.of(name)) >= n, self.events
        return self.of(name)

    def text(self, n, which, lane=0):
        return "".join(text for e in self.of("text") if e["n"] == n
                       for number, text, _ in e.get(which, []) if number == lane)


@pytest.fixture
def watched(gateway):
    def make(*upstreams, **options):
        return gateway(*upstreams, admin_key=KEY, live_view=1, **options)
    return make


def test_both_columns_and_the_hit(upstream, watched):
    def script(conn, asked):
        conn.head()
        for piece in ("You take ", "a bo", "mb and th", "en you go", " on."):
            conn.delta(piece)
        conn.closed()
        return False
    g = watched(upstream(script))
    w = Watcher(g)
    assert w.head.headers["content-type"].startswith("text/event-stream")
    assert w.of("hello")[0]["judge"] == "fake-stream"
    seen = text_of(g.ask())
    end = w.wait("end")[0]
    begin = w.of("begin")[0]
    n = begin["n"]
    assert begin["model"] == "m" and begin["protocol"] == "chat" and begin["hold_back_tokens"] == 4
    assert w.of("prompt")[0]["severity"] == "Safe" and w.of("prompt")[0]["action"] == "allow"
    assert w.text(n, "released") == seen and seen.startswith("You take ")
    sent = w.text(n, "sent")
    assert sent.startswith(seen) and "bomb" in sent
    hit = [h for e in w.of("text") for h in e.get("hits", [])][-1]
    assert hit["category"] == "Violent" and hit["action"] == "block" and hit["p"] > 0.8
    assert "o" in sent[hit["begin"]:hit["end"]] and hit["begin"] >= len("You take a ")
    assert [e["lanes"] for e in w.of("text") if "lanes" in e][0][0]["field"] == "content"
    assert max(e["held"] for e in w.of("text")) > 0
    assert end["outcome"] == "cut" and end["released_bytes"] == len(seen)


def test_text_comes_before_it_is_released(upstream, watched):
    """What the upstream sent is shown while the reader has nothing of it."""
    go = threading.Event()

    def script(conn, asked):
        conn.head()
        conn.delta("abc")
        go.wait(10)
        conn.delta("defghij")
        conn.delta(None, finish="stop")
        conn.end()
    g = watched(upstream(script))
    w = Watcher(g)
    raw = g.open_stream()
    w.wait("text")
    assert w.text(1, "sent") == "abc" and w.text(1, "released") == ""
    go.set()
    assert text_of(raw.answer()) == "abcdefghij"
    w.wait("end")
    assert w.text(1, "sent") == w.text(1, "released") == "abcdefghij"


def test_a_blocked_prompt_and_again(upstream, watched):
    up = upstream(saying("a bomb", "is no toy"))
    g = watched(up, policy="regenerate: 1\n")
    w = Watcher(g)
    g.ask("a bomb")
    assert w.wait("end")[0]["outcome"] == "blocked"
    assert w.of("prompt")[0]["action"] == "block" and w.of("prompt")[0]["category"] == "Violent"
    g.ask("hi")
    w.wait("end", 2)
    assert len(w.of("again")) == 1 and "bomb" in w.text(2, "sent")
    assert "bomb" not in w.text(2, "released")


@pytest.mark.parametrize("options,status", [({}, 404), ({"admin_key": KEY}, 404),
                                            ({"admin_key": KEY, "live_view": 1}, 401)])
def test_who_may_watch(upstream, gateway, options, status):
    g = gateway(upstream(saying("x")), api_key="client", **options)
    for key in ("client", "", "x"):
        answer = g.get("/v1/admin/live", headers=[f"Authorization: Bearer {key}"])
        assert answer.status == status and answer.json()["error"]["message"]
    page = g.get("/live")
    assert page.status == (200 if status == 401 else 404)
    assert g.post(b"{}", "/v1/admin/live").status == (404 if status == 404 else 405)


def test_it_needs_an_admin_key(fake_gateway_binary):
    run = subprocess.run([fake_gateway_binary, "--upstream", "http://127.0.0.1:1/v1", "--live-view",
                          "1"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and "needs an admin key" in run.stderr


def test_the_page(upstream, watched):
    g = watched(upstream(saying("x")))
    for path, kind in (("/live", "text/html"), ("/live.js", "text/javascript"),
                       ("/live.css", "text/css")):
        answer = g.get(path)
        assert answer.status == 200 and answer.headers["content-type"].startswith(kind)
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert b"http://" not in answer.body and b"https://" not in answer.body


def test_only_so_many(upstream, watched):
    g = watched(upstream(saying("x")))
    watchers = [Watcher(g) for _ in range(8)]
    assert Watcher(g).head.status == 429
    watchers[3].raw.close()
    end = time.monotonic() + 10
    while Watcher(g).head.status != 200 and time.monotonic() < end:
        time.sleep(0.05)
    g.ask()
    assert watchers[0].wait("end") and watchers[7].wait("end")


def test_a_slow_watcher_holds_nobody(upstream, watched):
    """It reads nothing while 7 MB of replies go by: they are not late, and it is told afterwards
    how many events it lost."""
    piece = "y" * 4000
    g = watched(upstream(saying(*[piece] * 60)), max_model_len=1 << 20,
                write_ms=600000, judge_ms=60000)
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    s.connect(("127.0.0.1", g.port))
    s.sendall(request("GET", "/v1/admin/live", headers=[f"Authorization: Bearer {KEY}"]))
    good = Watcher(g)
    for _ in range(30):
        assert text_of(g.ask()) == piece * 60
    good.wait("end", 30, 30)
    s.settimeout(10)
    got = b""
    while b"event: lost" not in got:
        more = s.recv(1 << 16)
        assert more, got[-500:]
        got += more
    while got.count(b"\n", got.index(b"event: lost")) < 2:
        got += s.recv(1 << 16)
    assert json.loads(got.split(b"event: lost\ndata: ")[1].split(b"\n")[0])["events"] > 10
    begun = time.monotonic()
    assert g.stop() == 0 and time.monotonic() - begun < 10
    s.close()


def test_replies_that_began_before_are_not_shown(upstream, watched):
    go = threading.Event()

    def script(conn, asked):
        conn.head()
        conn.delta("one ")
        go.wait(10)
        conn.delta("two three four")
        conn.delta(None, finish="stop")
        conn.end()
    up = upstream(script)
    g = watched(up)
    raw = g.open_stream()
    while not up.requests:
        time.sleep(0.01)
    w = Watcher(g)
    go.set()
    raw.answer()
    g.ask()
    w.wait("end")
    assert len(w.of("begin")) == len(w.of("end")) == 1 and w.text(1, "sent") == "one two three four"


def test_stopping_lets_watchers_go(upstream, watched):
    g = watched(upstream(saying("x")))
    w = Watcher(g)
    begun = time.monotonic()
    assert g.stop() == 0 and time.monotonic() - begun < 5
    assert w.over.wait(5)


def test_many_replies_are_all_told(upstream, watched):
    up = upstream(saying("Hello ", "dear ", "reader, ", "all is well.", pause=0.02))
    g = watched(up)
    w = Watcher(g)
    raws = [g.open_stream() for _ in range(40)]
    for raw in raws:
        raw.answer()
    w.wait("end", 40)
    for begin in w.of("begin"):
        said = w.text(begin["n"], "sent")
        assert said == w.text(begin["n"], "released") == "Hello dear reader, all is well."
