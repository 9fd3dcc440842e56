"""POST /v1/moderations/stream: lines in, verdicts out while more comes."""
import json
import threading
import time

import pytest

from wire import request

STREAM = "/v1/moderations/stream"


@pytest.fixture(scope="module")
def server(fake_binary):
    from wire import running
    with running([fake_binary, "--stream-model", "stream"]) as one:
        yield one


def head(path=STREAM, *headers):
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def chunk(data):
    data = data if isinstance(data, bytes) else (json.dumps(data) + "\n").encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


END = b"0\r\n\r\n"


class Talk:
    """A request whose answer is read while its body is written."""

    def __init__(self, server, path=STREAM, headers=(), **more):
        self.raw = server.open(**more)
        self.raw.send(head(path, *headers))
        self.answer = None
        self.buffer = b""

    def say(self, *lines):
        for line in lines:
            self.raw.send(chunk(line))
        return self

    def end(self):
        self.raw.send(END)
        return self

    def head(self):
        if not self.answer:
            self.answer = self.raw.answer(head_only=True)
        return self.answer

    def piece(self):
        """One chunk of the answer, b"" at its end."""
        self.head()
        size = int(self.raw.until(b"\r\n"), 16)
        data = self.raw.take(size)
        assert self.raw.take(2) == b"\r\n"
        return data

    def line(self):
        while b"\n" not in self.buffer:
            data = self.piece()
            if not data:
                assert not self.buffer
                return None
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def until_summary(self):
        tokens = []
        while "summary" not in (line := self.line()):
            assert "error" not in line, line
            tokens.append(line)
        return tokens, line["summary"]

    def rest(self):
        lines = []
        while (line := self.line()) is not None:
            lines.append(line)
        return lines


def test_answers_come_while_the_request_is_open(server):
    talk = Talk(server).say({"role": "assistant", "content": "a b"})
    tokens, summary = talk.until_summary()
    assert talk.answer.status == 200
    assert talk.answer.headers["content-type"] == "application/x-ndjson"
    assert [(t["index"], t["final"], t["flagged"]) for t in tokens] == [
        (1, True, False), (2, True, False), (3, False, False)]
    assert summary == {"role": "assistant", "n_tokens": 4, "n_cached": 0, "n_provisional": 1, "source": "stream",
                       "rule_line": None, "action": "allow",
                       "flagged": False, "first_flagged_index": -1, "range": None, "severity": "Safe",
                       "category": None}
    talk.say({"content": "om"})
    tokens, summary = talk.until_summary()
    assert [t["index"] for t in tokens] == [3, 4, 5] and not summary["flagged"]
    talk.say({"content": "b"})
    tokens, summary = talk.until_summary()
    assert [t["flagged"] for t in tokens] == [True, False] or summary["flagged"]
    assert summary["range"] and summary["category"] == "Violent"
    talk.end()
    lines = talk.rest()
    assert all(t["final"] for t in lines[:-1]) and lines[-1]["summary"]["n_provisional"] == 0
    assert talk.raw.closed()


def test_first_line(server):
    talk = Talk(server).say({"model": "Qwen/fake-stream", "mode": "loose", "role": "assistant",
                             "thresholds": {"unsafe": 0.5, "categories": {"Violent": 0.2}},
                             "messages": [{"role": "user", "content": "a bomb?"},
                                          {"role": "assistant", "content": "no"}]})
    tokens, summary = talk.until_summary()
    assert [t["role"] for t in tokens] == ["user"] and summary["flagged"]
    assert summary["range"] is None and summary["first_flagged_index"] == tokens[0]["index"]
    tokens, summary = talk.until_summary()
    assert [t["role"] for t in tokens] == ["assistant"] * 2 and not summary["flagged"]
    assert summary["n_provisional"] == 0
    talk.say({"content": "x"}).until_summary()
    talk.say({"end": True}).until_summary()
    talk.end()
    assert talk.rest() == []


def test_whole_body_at_once(server):
    """A client that cannot read and write at the same time is served all the same."""
    body = b"".join(json.dumps({"content": c}).encode() + b"\n" for c in "abc")
    answer = server.post(body[:-1], STREAM)
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert answer.status == 200 and sum("summary" in line for line in lines) == 4
    assert lines[-1]["summary"]["n_provisional"] == 0


def test_an_empty_piece_opens_its_turn(server):
    """As chat APIs send it first."""
    lines = [{"role": "user", "content": "x", "end": True}, {"role": "assistant", "content": ""}, {"end": True}]
    answer = server.post("\n".join(map(json.dumps, lines)).encode(), STREAM)
    assert answer.status == 200 and b"error" not in answer.body
    assert len(answer.body.splitlines()) == 4  # the prompt's verdict and three summaries


def test_events(server):
    talk = Talk(server, headers=["Accept: text/event-stream"]).say({"content": "hi"}).end()
    assert talk.head().headers["content-type"].startswith("text/event-stream")
    text = b""
    while data := talk.piece():
        text += data
    events = text.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(e.startswith("data: {") for e in events[:-2]) and "summary" in events[-3]


@pytest.mark.parametrize("step", [1, 3, 7])
def test_cut_anywhere(server, step):
    """Chunks need not be lines."""
    body = b"".join(json.dumps({"content": c}, ensure_ascii=False).encode() + b"\r\n"
                    for c in ("", "b\u00e4m", "\U0001f600"))
    talk = Talk(server)
    for i in range(0, len(body), step):
        talk.say(body[i:i + step])
    talk.end()
    lines = talk.rest()
    assert sum("summary" in line for line in lines) == 4
    assert [t["index"] for t in lines if t.get("final")] == list(range(1, 9))


def test_token_ids(server):
    talk = Talk(server).say({"role": "assistant", "token_ids": [98, 111, 109, 98]})
    tokens, summary = talk.until_summary()
    assert [t["id"] for t in tokens] == [98, 111, 109, 98] and summary["flagged"]
    talk.end().rest()


FIRST = {
    "not JSON": (b"{\n", 400), "not an object": (b"[1]\n", 400), "half a character": (b'{"content":"\xc3"}\n', 400),
    "lone surrogate": (b'{"content":"\\ud83d"}\n', 400), "wrong type": (b'{"content":1}\n', 400),
    "both": (b'{"content":"x","token_ids":[1]}\n', 400), "odd role": (b'{"role":"tool","content":"x"}\n', 400),
    "no model": (b'{"model":"nope","content":"x"}\n', 404), "odd mode": (b'{"mode":"x"}\n', 400),
    "odd threshold": (b'{"thresholds":{"unsafe":2}}\n', 400), "key twice": (b'{"content":"a","content":"b"}\n', 400),
    "odd category": (b'{"thresholds":{"categories":{"x":0.5}}}\n', 400), "negative id": (b'{"token_ids":[-1]}\n', 400),
    "no content in a message": (b'{"messages":[{"role":"user"}]}\n', 400),
    "too many tokens": (b'{"content":"' + b"x" * 5000 + b'"}\n', 400), "busy": (b'{"content":"busy"}\n', 429),
    "internal": (b'{"content":"nan"}\n', 500), "gone": (b'{"content":"gone"}\n', 410),
    "long line": (b'{"content":"' + b"x" * 300000, 400),
}


@pytest.mark.parametrize("name", FIRST)
def test_first_line_refused(server, name):
    """Before the first verdict an error has its own status."""
    data, status = FIRST[name]
    talk = Talk(server).say(data)
    answer = talk.raw.answer()
    assert answer.status == status and answer.error["message"]
    assert answer.headers["connection"] == "close"
    assert talk.raw.closed()


@pytest.mark.parametrize("data", [b"{\n", b"{}\n", b'{"contnet":"x"}\n', b'{"content":"nan"}\n',
                                  b'{"content":"gone"}\n', b'{"content":"\xff"}\n',
                                  b'{"content":"' + b"x" * 300000])
def test_later_line_refused(server, data):
    """Then it is the last line, and the body is ended properly."""
    talk = Talk(server).say({"content": "fine"})
    talk.until_summary()
    talk.say(data)
    lines = talk.rest()
    assert len(lines) == 1 and set(lines[0]) == {"error"}
    assert "line 2" in lines[0]["error"]["message"] or b"nan" in data or b"gone" in data
    assert talk.raw.closed()


@pytest.mark.parametrize("body", [b"", b"\n\n  \r\n"])
def test_nothing(server, body):
    assert server.post(body, STREAM).status == 400


def test_no_stream_model(serve):
    server = serve()
    answer = server.post(b'{"content":"x"}', STREAM)
    assert answer.status == 400 and "--stream-model" in answer.error["message"]


def test_stream_model_alone(serve):
    server = serve("--model", "stream")
    assert server.post(b'{"content":"x"}', STREAM).status == 200
    assert server.chat("hi").status == 400
    assert server.get("/v1/models").json()["data"][0]["id"] == "stream"


def test_many_short_lines_at_once(serve):
    """Thousands of lines in one piece, with a long one behind them."""
    server = serve("--stream-model", "stream", "--max-model-len", 1000000)
    n = 3000
    body = b'{"content":"y"}\n' * n + b'{"content":"' + b"x" * 200000 + b'"}\n' + b'{"content":"z"}\n' * n
    talk = Talk(server)
    sender = threading.Thread(target=lambda: talk.say(body).end())
    sender.start()
    summaries = [line["summary"] for line in talk.rest() if "summary" in line]
    sender.join()
    assert len(summaries) == 2 * n + 2 and summaries[-1]["n_tokens"] == 2 * n + 200000 + 2


def test_back_pressure(serve):
    """While a line is judged, what follows stays with the client: the server holds one line and what
    its buffers hold."""
    server = serve("--stream-model", "stream", "--drain-ms", 200)
    talk = Talk(server).say({"content": "hang"})
    time.sleep(0.2)
    piece = chunk(b'{"content":"y"}\n' * 2000)
    talk.raw.sock.settimeout(1)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 64 << 20:
            sent += talk.raw.sock.send(piece)
    assert sent < 16 << 20  # the two socket buffers
    assert server.get("/health").status == 200
    talk.raw.close()  # behind what was not read, so the server cannot see it yet


def test_slow_reader(serve):
    """A client that sends and never reads stops only itself."""
    server = serve("--stream-model", "stream", "--max-model-len", 10000000)
    talk = Talk(server)
    talk.raw.sock.settimeout(1)
    line = chunk(b'{"content":"' + b"x" * 20000 + b'"}\n')
    with pytest.raises(TimeoutError):
        for _ in range(2000):
            talk.raw.sock.sendall(line)
    with open(f"/proc/{server.process.pid}/status") as status:
        peak = next(int(row.split()[1]) for row in status if row.startswith("VmHWM"))
    assert peak < 120 << 10  # kB
    assert Talk(server).say({"content": "x"}).until_summary()[0]
    talk.raw.close()


def test_slow_reader_is_given_up(serve):
    server = serve("--stream-model", "stream", "--max-model-len", 10000000, "--write-ms", 300)
    talk = Talk(server)
    for _ in range(4):
        talk.say(b'{"content":"' + b"x" * 100000 + b'"}\n')
    assert server.wait_for_line("not taken", 60)


@pytest.mark.parametrize("pause", [0, 0.05])
def test_clients_that_vanish(serve, pause):
    """At every stage; sessions do not stay behind."""
    server = serve("--stream-model", "stream", "--max-sessions", 20, "--request-timeout-ms", 0)
    for start in ([], [{"content": "x"}], [{"content": "hang"}], [{"content": "sleep=30"}], [b'{"con'],
                  [{"content": "x"}, {"content": "y" * 20000}]):
        for _ in range(15):
            talk = Talk(server).say(*start)
            time.sleep(pause / 10)
            talk.raw.close()
    end = time.monotonic() + 20
    while True:
        talks = [Talk(server).say({"content": "x"}) for _ in range(20)]
        if all(t.head().status == 200 for t in talks):
            break
        assert time.monotonic() < end
        for talk in talks:
            talk.raw.close()
        time.sleep(0.1)
    for talk in talks:
        talk.end().rest()


def test_hang_up_while_judged(serve):
    server = serve("--stream-model", "stream", "--request-timeout-ms", 0)
    talk = Talk(server).say({"content": "hang"})
    time.sleep(0.2)
    talk.raw.close()
    assert server.wait_for_line("fake engine: cancelled")


def test_too_idle(serve):
    server = serve("--stream-model", "stream", "--talk-ms", 300)
    talk = Talk(server).say({"content": "x"})
    talk.until_summary()
    assert talk.line()["error"]["code"] == "idle"
    assert talk.line() is None and talk.raw.closed()
    quiet = Talk(server).raw.answer()
    assert quiet.status == 408 and quiet.error["code"] == "idle"
    trickle = Talk(server)
    for byte in b'{"content":"':
        try:
            trickle.say(bytes([byte]))
        except OSError:
            break
        time.sleep(0.05)
    assert trickle.raw.answer().status == 408


def test_deadline(serve):
    server = serve("--stream-model", "stream", "--request-timeout-ms", 200)
    answer = server.post(b'{"content":"sleep=5000"}', STREAM)
    assert answer.status == 504 and answer.error["code"] == "deadline_exceeded"


def test_stuck_engine_turns_health_red(serve):
    server = serve("--stream-model", "stream", "--stuck-ms", 300, "--request-timeout-ms", 0, "--drain-ms", 100)
    time.sleep(0.5)
    talk = Talk(server).say({"content": "sleep=50 x"})
    talk.until_summary()
    assert server.get("/health").status == 200
    talk.say({"content": "hang"})
    end = time.monotonic() + 20
    while server.get("/health").status == 200:
        assert time.monotonic() < end
        time.sleep(0.05)
    talk.raw.close()


def test_drain(serve):
    """A running request ends as it would have."""
    server = serve("--stream-model", "stream")
    talk = Talk(server).say({"content": "x"})
    talk.until_summary()
    server.terminate()
    assert server.wait_for_line("stopping")
    talk.say({"content": "y"}).until_summary()
    assert "summary" in talk.end().rest()[-1]
    assert server.process.wait(20) == 0


def test_drain_has_a_limit(serve):
    server = serve("--stream-model", "stream", "--drain-ms", 300)
    talks = [Talk(server).say({"content": "x"}), Talk(server), Talk(server).say({"content": "hang"})]
    time.sleep(0.2)
    server.terminate()
    assert server.process.wait(20) == 0
    for talk in talks:
        talk.raw.close()


def test_the_last_line_when_the_drain_is_over(serve):
    """Whatever a stream was waiting for, it hears why it ends, and its body ends properly."""
    server = serve("--stream-model", "stream", "--drain-ms", 300)
    talks = [Talk(server).say({"content": "x"}) for _ in range(3)]
    for talk in talks:
        talk.until_summary()
    talks[1].say({"content": "hang"})
    talks[2].say({"content": "hang"}).end()
    silent = Talk(server)
    time.sleep(0.2)
    server.terminate()
    for talk in talks:
        lines = talk.rest()
        assert len(lines) == 1 and lines[0]["error"]["code"] == "stopping", lines
    answer = silent.raw.answer()
    assert answer.status == 503 and answer.error["code"] == "stopping"
    assert server.process.wait(20) == 0


def test_rollback(server):
    talk = Talk(server).say({"role": "assistant", "content": "a bomb"})
    _, summary = talk.until_summary()
    assert summary["flagged"] and summary["n_tokens"] == 7
    talk.say({"rollback": 2, "content": " c"})
    tokens, summary = talk.until_summary()
    assert not summary["flagged"] and [t["index"] for t in tokens] == [2, 3]
    talk.say({"rollback": 3})
    tokens, summary = talk.until_summary()
    assert tokens == [] or [t["index"] for t in tokens] == [2]
    assert summary["n_tokens"] == 3
    talk.say({"rollback": 1})
    assert talk.until_summary()[1]["n_tokens"] == 1
    talk.say({"content": "z"})
    assert talk.until_summary()[1]["n_tokens"] == 3  # a turn of its own
    talk.say({"rollback": 77})
    assert "error" in talk.line()


def test_verdicts_are_counted_and_audited(serve, tmp_path):
    log = tmp_path / "audit.jsonl"
    server = serve("--stream-model", "stream", "--audit-log", log)
    talk = Talk(server).say({"messages": [{"role": "user", "content": "a bomb"}], "content": "fine"})
    talk.until_summary(), talk.until_summary()
    talk.say({"role": "user", "content": "and", "end": True}).until_summary()
    talk.say({"role": "assistant", "content": "bomb "}).until_summary()
    talk.say({"rollback": 17, "content": "bo"}).until_summary()
    talk.raw.close()  # in mid-turn
    assert server.post(b'{"content":"nan"}', STREAM).status == 500
    id_ = server.post(b'{"content":"bomb"}', "/v1/moderations/sessions").json()["id"]
    server.get(f"/v1/moderations/sessions/{id_}", method="DELETE")
    deadline = time.monotonic() + 10
    while len(rows := [json.loads(row) for row in log.read_text().splitlines()]) < 7:
        assert time.monotonic() < deadline, rows
        time.sleep(0.05)
    stream, session = "/v1/moderations/stream", "/v1/moderations/sessions"
    got = [(r["event"], r["endpoint"], r["role"], r.get("severity"), r.get("category"), r.get("action")) for r in rows]
    assert sorted(map(str, got)) == sorted(map(str, [
        ("verdict", stream, "user", "Unsafe", "Violent", "block"),
        ("verdict", stream, "assistant", "Safe", None, "allow"),
        ("verdict", stream, "user", "Safe", None, "allow"),
        ("rollback", stream, "assistant", None, None, None),
        ("verdict", stream, "assistant", "Safe", None, "allow"),
        ("verdict", stream, "assistant", None, None, None),
        ("verdict", session, "assistant", "Unsafe", "Violent", "block")])), got
    assert rows[-1]["session"] == id_ and all(r["request"] for r in rows)
    page = server.get("/metrics").body.decode()
    for line in ('verdicts_total{role="prompt",label="Unsafe"} 1', 'verdicts_total{role="prompt",label="Safe"} 1',
                 'verdicts_total{role="response",label="Safe"} 2', 'verdicts_total{role="response",label="Unsafe"} 1',
                 'category_total{category="Violent"} 2', 'actions_total{role="response",action="block"} 1',
                 'failures_total{role="response",reason="internal_error",outcome="closed"} 1'):
        assert f"qwen3guard_{line}" in page, line


def test_expect_continue(server):
    raw = server.open().send(head(STREAM, "Expect: 100-continue"))
    assert raw.answer().status == 100
    raw.send(chunk({"content": "x"}) + END)
    assert raw.answer().status == 200


def test_http_1_0(server):
    body = b'{"content":"x"}'
    raw = server.open().send(b"POST %s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s"
                             % (STREAM.encode(), len(body), body))
    answer = raw.answer()
    assert "transfer-encoding" not in answer.headers
    assert "summary" in json.loads(answer.body.splitlines()[-1])


def test_keys_and_ids(serve):
    server = serve("--stream-model", "stream", "--api-key", "k")
    assert server.post(b'{"content":"x"}', STREAM).status == 401
    headers = ["Authorization: Bearer k", "X-Request-Id: mine"]
    answer = server.post(b'{"content":"x"}', STREAM, headers)
    assert answer.status == 200 and answer.headers["x-request-id"] == "mine"


def test_many_at_once(server):
    talks = [Talk(server) for _ in range(100)]
    for round_ in range(3):
        for i, talk in enumerate(talks):
            talk.say({"content": "bomb" if i % 3 == 0 else "calm"})
        for i, talk in enumerate(talks):
            assert talk.until_summary()[1]["flagged"] == (i % 3 == 0)
    for talk in talks:
        assert "summary" in talk.end().rest()[-1]


def test_request_behind_the_body_is_not_answered(server):
    """The answer says Connection: close, and that is what happens."""
    raw = server.open().send(head() + chunk({"content": "x"}) + END + request("GET", "/health"))
    assert raw.answer().headers["connection"] == "close"
    assert b"200" not in raw.rest()


def test_the_stream_model_has_a_card(serve):
    server = serve("--stream-model", "stream")
    cards = server.get("/v1/models").json()["data"]
    assert [c["id"] for c in cards] == ["fake-guard", "fake-stream"]
    assert server.get("/v1/models/fake-stream").json() == cards[1]
    assert len(serve().get("/v1/models").json()["data"]) == 1
