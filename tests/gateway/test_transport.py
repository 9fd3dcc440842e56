"""What the gateway does around a reply: upstreams, prompts, keys, failures, clients that go away."""
import json
import os
import signal
import socket
import struct
import time

import pytest
from scripted import events, finish_of, reply_of, saying, text_of

HELLO = ("Hello ", "dear ", "reader, ", "all is well.")


def test_a_stream_passes_as_it_is(upstream, gateway):
    sent = []

    def script(conn, asked):
        conn.head()
        for data in (": hi\n\n", 'data: {"id":"c1","object":"chat.completion.chunk","created":1,'
                     '"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},'
                     '"finish_reason":null}]}\n\n'):
            sent.append(data)
            conn.chunk(data)
        for word in HELLO:
            conn.delta(word)
        conn.delta(None, finish="stop")
        conn.end()
    g = gateway(upstream(script))
    answer = g.ask()
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert text_of(answer) == "".join(HELLO) and finish_of(answer) == ["stop"]
    assert answer.body.endswith(b"data: [DONE]\n\n")
    g.wait_metric(1, "qguard_gateway_outcomes_total", outcome="passed")


def test_a_plain_reply_passes(upstream, gateway):
    up = upstream(saying(*HELLO))
    answer = gateway(up).ask(stream=False, headers=["X-Request-Id: abc", "anthropic-beta: x"])
    assert answer.status == 200 and answer.text == "".join(HELLO)
    asked = up.requests[0]
    assert asked.path == "/v1/chat/completions" and asked.json["messages"][0]["content"] == "hi"
    assert asked.headers["x-request-id"] == "abc" == answer.headers["x-request-id"]
    assert asked.headers["anthropic-beta"] == "x"
    assert asked.headers["accept-encoding"] == "identity"


def test_models_health_version_and_what_is_not_there(upstream, gateway):
    g = gateway(upstream(saying("x")))
    assert g.get("/v1/models").json()["data"][0]["id"] == "m"
    assert g.get("/health").status == 200 and "version" in g.get("/version").json()
    assert g.get("/v1/files").status == 404
    assert g.get("/v1/chat/completions").status == 405
    assert g.post(b"{", headers=["Content-Encoding: gzip"]).status == 415


def test_passthrough(upstream, gateway):
    up = upstream(lambda conn, r: conn.whole('{"path":"%s"}' % r.path))
    g = gateway(up, policy="passthrough: [/v1/embeddings, /v1/files/*, /v1/c*]\n")
    assert g.post(b'{"input":"x"}', "/v1/embeddings?a=b").json() == {"path": "/v1/embeddings?a=b"}
    assert up.requests[-1].json == {"input": "x"}
    assert g.get("/v1/files/7").json() == {"path": "/v1/files/7"}
    asked = len(up.requests)
    for path in ("/v1/embeddings/", "/v1/files/", "/v1/files/../chat", "/v1/files//x", "/v1/other",
                 "/v1/chat/completions/", "/v1/chat/%63ompletions/", "/v1/CHAT/completions",
                 "/v1/chat/x", "/v1/files/%2e%2e/x", "/v1/files/a%0d%0ab", "/v1/files/a%20b"):
        answer = g.post(b'{}', path)
        assert answer.status in (400, 404), path
    assert len(up.requests) == asked
    assert gateway(up, api_key="k", policy="passthrough: [/v1/embeddings]\n").post(
        b"{}", "/v1/embeddings").status == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"messages":7}', b'{"messages":[]}'])
def test_requests_that_cannot_be_read(upstream, gateway, body):
    up = upstream(saying("x"))
    answer = gateway(up).post(body)
    assert answer.status == 400 and answer.error["message"]
    assert not up.requests


# ---- the prompt ----------------------------------------------------------------------------------

@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("gen", [False, True])
def test_a_blocked_prompt_never_reaches_the_upstream(upstream, gateway, stream, gen):
    up = upstream(saying("x"))
    g = gateway(up, **({"gen_model": "fake-guard"} if gen else {}))
    answer = g.ask("a bomb", stream=stream)
    assert answer.status == 400 and answer.json()["error"]["code"] == "content_filter"
    assert not up.requests
    g.wait_metric(1, "qguard_gateway_cuts_total", phase="prompt", category="Violent")


@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_prompt_as_a_message(upstream, gateway, stream):
    up = upstream(saying("x"))
    answer = gateway(up, policy="prompt_block: message\nmessage: No way.\n").ask("a bomb",
                                                                               stream=stream)
    assert answer.status == 200
    if stream:
        assert text_of(answer) == "No way." and finish_of(answer) == ["content_filter"]
        assert answer.body.endswith(b"data: [DONE]\n\n")
    else:
        assert answer.text == "No way."
        assert answer.json()["choices"][0]["finish_reason"] == "content_filter"
    assert not up.requests


@pytest.mark.parametrize("gen", [False, True])
def test_beside_nothing_leaves_before_the_verdict(upstream, gateway, gen):
    up = upstream(saying(*HELLO))
    g = gateway(up, policy="judge_prompt: beside\n",
                **({"gen_model": "fake-guard"} if gen else {}))
    begun = time.monotonic()
    raw = g.open_stream("sleep=700")
    while not up.requests:
        time.sleep(0.01)
    called = time.monotonic() - begun
    answer = raw.answer()
    assert called < 0.6 < time.monotonic() - begun
    assert text_of(answer) == "".join(HELLO)


@pytest.mark.parametrize("gen", [False, True])
def test_beside_a_blocked_prompt_hangs_up_on_the_upstream(upstream, gateway, gen):
    def script(conn, asked):
        conn.head()
        conn.delta("secret")
        conn.closed()
        return False
    up = upstream(script)
    g = gateway(up, policy="judge_prompt: beside\n",
                **({"gen_model": "fake-guard"} if gen else {}))
    answer = g.ask("sleep=300 bomb")
    assert answer.status == 400 and b"secret" not in answer.body
    assert up.aborted.wait(5)


def test_the_prompt_is_not_judged_when_the_policy_says_so(upstream, gateway):
    up = upstream(saying(*HELLO))
    assert gateway(up, policy="judge_prompt: 'off'\n").ask("a bomb").status == 200


def test_rules_of_the_prompt(upstream, gateway):
    up = upstream(saying(*HELLO))
    g = gateway(up, policy="""rules:
  - {contains: "grenade", severity: Unsafe, category: Violent}
  - {contains: "bath bomb", severity: Safe, final: true}
""")
    assert g.ask("a GRENADE").status == 400
    assert g.ask("a bath bomb").status == 200
    assert g.ask("a bomb").status == 400


@pytest.mark.parametrize("word,status", [("nan", 503), ("busy", 429), ("hang", 504)])
@pytest.mark.parametrize("gen", [False, True])
def test_a_prompt_that_cannot_be_judged(upstream, gateway, word, status, gen):
    up = upstream(saying(*HELLO))
    more = {"judge_ms": 400, **({"gen_model": "fake-guard"} if gen else {})}
    g = gateway(up, policy="on_error: {prompt: closed, response: open}\n", **more)
    answer = g.ask(word)
    assert answer.status == status and answer.error["code"] == "judge_unavailable"
    assert not up.requests
    g = gateway(up, policy="on_error: {prompt: open, response: open}\n", **more)
    assert text_of(g.ask(word)) == "".join(HELLO)
    assert g.metric("qwen3guard_failures_total", role="prompt", outcome="open") == 1


def test_parts_that_are_no_text(upstream, gateway):
    up = upstream(saying(*HELLO))
    image = [{"role": "user", "content": [{"type": "text", "text": "what is this"},
             {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]
    assert gateway(up).ask(messages=image).status == 400
    assert gateway(up, policy="on_error: open\n").ask(messages=image).status == 200


# ---- the reply -----------------------------------------------------------------------------------

def test_a_hit_cuts_and_hangs_up(upstream, gateway, tmp_path):
    def script(conn, asked):
        conn.head()
        for piece in ("You take ", "a bo", "mb and th", "en you go", " on."):
            conn.delta(piece)
        conn.closed()
        return False
    log = tmp_path / "audit"
    up = upstream(script)
    g = gateway(up, audit_log=log)
    answer = g.ask()
    assert "You take a ".startswith(text_of(answer)[:11]) and "mb" not in text_of(answer)
    assert finish_of(answer) == ["content_filter"] and answer.body.endswith(b"data: [DONE]\n\n")
    assert up.aborted.wait(5)
    g.wait_metric(1, "qguard_gateway_cuts_total", phase="response", category="Violent")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    hit = next(line for line in lines if line["event"] == "verdict" and line["role"] == "assistant")
    assert hit["severity"] == "Unsafe" and hit["category"] == "Violent" and hit["action"] == "block"
    assert hit["field"] == "content" and hit["chars"][0] >= 11 and hit["p"]["Unsafe"] > 0.8
    assert "take" not in log.read_text()


def test_a_hit_in_a_plain_reply(upstream, gateway):
    answer = gateway(upstream(saying("You take a bomb and then"))).ask(stream=False)
    assert answer.status == 200 and "bomb" not in answer.body.decode()
    assert answer.json()["choices"][0]["finish_reason"] == "content_filter"


def test_shadow_changes_nothing(upstream, gateway):
    pieces = ("You take ", "a bomb", " and go", " on.")
    plain, shadow = upstream(saying(*pieces)), upstream(saying(*pieces))
    g = gateway(shadow, policy="shadow: true\n")
    answer = g.ask("a bomb")
    assert answer.status == 200 and text_of(answer) == "".join(pieces)
    assert finish_of(answer) == ["stop"]
    g.wait_metric(1, "qguard_gateway_cuts_total", phase="response", category="Violent")
    g.wait_metric(1, "qguard_gateway_cuts_total", phase="prompt", category="Violent")
    assert plain.connections == 0


def test_every_choice_is_judged(upstream, gateway):
    def script(conn, asked):
        conn.head()
        for i in (0, 1):
            conn.delta("fine so far ", index=i)
        conn.delta("a bomb is made", index=1)
        conn.delta("still fine", index=0)
        for i in (0, 1):
            conn.delta(None, index=i, finish="stop")
        conn.end()
    answer = gateway(upstream(script)).ask(n=2)
    assert "bomb" not in answer.body.decode()


def test_regenerate(upstream, gateway):
    tries = []

    def script(conn, asked):
        tries.append(asked.json)
        conn.head()
        conn.delta("bomb bomb" if len(tries) < 3 else "all is well now")
        conn.delta(None, finish="stop")
        conn.end()
    g = gateway(upstream(script), policy="regenerate: 3\n")
    answer = g.ask()
    assert text_of(answer) == "all is well now" and finish_of(answer) == ["stop"]
    assert len(tries) == 3 and len(tries[1]["messages"]) > 1
    assert len(tries[2]["messages"]) == len(tries[1]["messages"])
    assert g.metric("qguard_gateway_regenerated_total") == 2


def test_regenerate_gives_up(upstream, gateway):
    up = upstream(saying("bomb bomb"))
    answer = gateway(up, policy="regenerate: 2\n").ask()
    assert finish_of(answer) == ["content_filter"] and text_of(answer) == ""
    assert len(up.requests) == 3


@pytest.mark.parametrize("word", ["nan", "busy", "hang", "gone"])
def test_text_that_cannot_be_judged(upstream, gateway, word):
    pieces = ("All is well so far. ", f" {word} ", "and so on", " to the end.")
    up = upstream(saying(*pieces, pause=0.05))
    g = gateway(up, judge_ms=500)
    answer = g.ask()
    assert word not in text_of(answer) and "to the end" not in text_of(answer)
    assert "error" in json.dumps(events(answer)) or finish_of(answer) == ["content_filter"]
    assert g.metric("qwen3guard_failures_total", role="response", outcome="closed") >= 1 \
        or word == "gone"
    g.wait_metric(1, "qguard_gateway_outcomes_total", outcome="unjudged")


@pytest.mark.parametrize("word", ["nan", "busy", "hang", "gone"])
def test_text_that_cannot_be_judged_passes_when_open(upstream, gateway, word):
    pieces = ("All is well so far. ", f" {word} ", "and so on", " to the end.")
    g = gateway(upstream(saying(*pieces)), policy="on_error: open\n", judge_ms=500)
    assert text_of(g.ask()) == "".join(pieces)
    assert g.metric("qguard_gateway_unjudged_bytes_total") > 0


# ---- upstreams -----------------------------------------------------------------------------------

def test_upstreams_by_model(upstream, gateway):
    a, b, c = (upstream(saying(name)) for name in ("from a", "from b", "from c"))
    g = gateway(f"gpt-*={a.url}", f"gpt-4={b.url}", f"claude={c.url}")
    assert text_of(g.ask(model="gpt-3")) == "from a"
    assert text_of(g.ask(model="gpt-4")) == "from b"
    assert text_of(g.ask(model="claude")) == "from c"
    answer = g.ask(model="other")
    assert answer.status == 404 and answer.error["code"] == "model_not_found"


def test_failover_and_the_way_back(upstream, gateway):
    state = {"well": False}

    def script(conn, asked):
        if not state["well"]:
            return conn.whole("busy", "503 Service Unavailable")
        return saying("from the first")(conn, asked)
    first, second = upstream(script), upstream(saying("from the second"))
    g = gateway(first, second)
    for _ in range(6):
        assert text_of(g.ask()) == "from the second"
    assert len([r for r in first.requests if r.method == "POST"]) == 1
    assert g.metric("qguard_gateway_failovers_total") == 1
    state["well"] = True
    g.wait_metric(1, "qguard_gateway_upstream_up", upstream="0")
    assert "from the first" in {text_of(g.ask()) for _ in range(4)}


def test_failover_from_a_server_that_is_not_there(upstream, gateway):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{s.getsockname()[1]}/v1"
        g = gateway(dead, upstream(saying("alive")))
        assert {text_of(g.ask()) for _ in range(4)} == {"alive"}


def test_keys(upstream, gateway):
    up = upstream(saying("x"))
    g = gateway(up, api_key="mine", upstream_key="theirs")
    assert g.ask().status == 401
    assert g.ask(headers=["Authorization: Bearer mine"]).status == 200
    assert up.requests[-1].headers["authorization"] == "Bearer theirs"
    assert not any("mine" in value for value in up.requests[-1].headers.values())
    g = gateway(up, api_key="mine")
    assert g.ask(headers=["x-api-key: mine"]).status == 200
    assert not any("mine" in value for value in up.requests[-1].headers.values())
    g = gateway(up)
    assert g.ask(headers=["Authorization: Bearer own"]).status == 200
    assert up.requests[-1].headers["authorization"] == "Bearer own"


def test_the_upstreams_error_keeps_its_status(upstream, gateway):
    error = json.dumps({"error": {"message": "too many tokens", "type": "invalid_request_error",
                                  "param": None, "code": "context_length_exceeded"}})
    up = upstream(lambda conn, r: conn.whole(error, "400 Bad Request"))
    answer = gateway(up).ask()
    assert answer.status == 400 and answer.json() == json.loads(error)
    bad = upstream(lambda conn, r: conn.whole(error.replace("too many", "bomb bomb"), "400 Bad"))
    assert b"bomb" not in gateway(bad).ask().body
    busy = upstream(lambda conn, r: conn.whole(error, "429 Too Many", more="Retry-After: 7\r\n"))
    answer = gateway(busy).ask()
    assert answer.status == 429 and answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("answer", [
    ("<html>hello</html>", "200 OK", "text/html"), ("", "302 Found", "text/plain"),
    ("oops", "500 Internal Server Error", "text/plain"), ("{", "200 OK", "application/json")])
def test_answers_that_are_none(upstream, gateway, answer, stream):
    body, status, kind = answer
    up = upstream(lambda conn, r: conn.whole(body, status, kind, "Location: http://x/\r\n"))
    got = gateway(up).ask(stream=stream)
    assert got.status in (500, 502), (got.headers, got.body)
    assert got.error["message"]
    assert b"html" not in got.body


def test_early_ends(upstream, gateway):
    def early(conn, asked):
        conn.head()
        conn.delta("All is well and ")
        return False

    def reset(conn, asked):
        early(conn, asked)
        time.sleep(0.1)
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False
    for script in (early, reset):
        g = gateway(upstream(script))
        answer = g.ask()
        assert "All is well and ".startswith(text_of(answer))
        assert any("error" in event for event in events(answer) if event != "[DONE]")
        g.wait_metric(1, "qguard_gateway_upstream_errors_total", cause="broken")
    silent = gateway(upstream(lambda conn, asked: False))
    assert silent.ask().status == 502
    g = gateway(upstream(lambda conn, asked: time.sleep(5)), header_ms=300)
    assert g.ask().status == 504

    def stall(conn, asked):
        conn.head()
        conn.delta("All is well and ")
        time.sleep(5)
    g = gateway(upstream(stall), stall_ms=300)
    assert any("error" in event for event in events(g.ask()) if event != "[DONE]")


def test_bytes_behind_an_answer_are_not_the_next_clients(upstream, gateway):
    """A server that says more than it announced: what is left on the connection is nobody's answer."""
    secret = reply_of("for somebody else")
    other = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(secret)}\r\n\r\n{secret}"

    def script(conn, asked):
        if asked.method == "GET":
            return conn.whole("{}")
        said = reply_of("all is well")
        late = asked.json["messages"][0]["content"] == "late"
        junk = other if asked.json["messages"][0]["content"] == "split" else "junk" * 500
        conn.send(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(said)}\r\n\r\n{said}"
                  .encode() + (b"" if late else junk.encode()))
        if late:
            time.sleep(0.2)
            conn.send(b"junk" * 10)
        return None
    g = gateway(upstream(script))
    for word in ("split", "now", "late"):
        for _ in range(3):
            answer = g.ask(word, stream=False)
            assert answer.status == 200 and answer.text == "all is well", (word, answer.body)
            time.sleep(0.3 if word == "late" else 0)


@pytest.mark.parametrize("head", [
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "HTTP/1.1 999 What\r\nContent-Length: 4\r\n\r\n",
    "HTTP/1.1 206 Part\r\nContent-Type: text/event-stream\r\nContent-Length: 4\r\n\r\n", "HTTP/1.1 304 Same\r\n\r\n",
    "HTTP/0.9", "HTTP/1.1 204 Nothing\r\n\r\n"])
def test_statuses_that_are_no_answer(upstream, gateway, head):
    def script(conn, asked):
        conn.send(head.encode() + b"bomb")
        return False
    answer = gateway(upstream(script)).ask()
    assert answer.status == 502 and b"bomb" not in answer.body


def test_no_header_of_the_upstream_leaves(upstream, gateway):
    def script(conn, asked):
        conn.send(b"HTTP/1.1 103 Early Hints\r\nX-Bomb: bomb\r\n\r\n")
        conn.head(status="429 bomb", type="application/json", more="Retry-After: a bomb\r\nX-Bomb: bomb\r\nTrailer: X-Bomb\r\n")
        conn.chunk('{"error":{"message":"slow down"}}')
        conn.send(b"0\r\nX-Bomb: bomb\r\n\r\n")
    raw = gateway(upstream(script)).open_stream()
    assert b"bomb" not in (heard := raw.rest()) and b" 429 " in heard and b"Retry-After: 1\r\n" in heard


def test_gzip(upstream, gateway):
    import gzip
    packed = gzip.compress(reply_of("all is well").encode())
    up = upstream(lambda conn, r: conn.whole(packed, more="Content-Encoding: gzip\r\n"))
    answer = gateway(up).ask(stream=False)
    assert answer.text == "all is well" and "content-encoding" not in answer.headers


# ---- clients -------------------------------------------------------------------------------------

@pytest.mark.parametrize("half", [False, True])
def test_a_client_that_hangs_up_ends_the_upstream_call(upstream, gateway, half):
    def script(conn, asked):
        conn.head()
        conn.delta("a word ")
        conn.delta("and another")
        conn.closed()
        return False
    up = upstream(script)
    g = gateway(up)
    raw = g.open_stream()
    raw.until(b"\r\n\r\n") if half else time.sleep(0.2)
    raw.sock.shutdown(socket.SHUT_WR) if half else raw.close()
    assert up.aborted.wait(5)
    g.wait_metric(1, "qguard_gateway_outcomes_total", outcome="gone")
    raw.close()


def test_a_reader_that_stops_holds_the_upstream(upstream, gateway):
    sent = [0]

    def script(conn, asked):
        conn.head()
        for _ in range(3000):
            conn.delta("x" * 8000 + " ")
            sent[0] += 8000
        conn.delta(None, finish="stop")
        conn.end()
    g = gateway(upstream(script), max_model_len=100000000)
    raw = g.open_stream(timeout=60)
    raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.until(b"\r\n\r\n")
    before = -1
    while sent[0] != before:
        before = sent[0]
        time.sleep(1)
    assert before < 16000000
    rss = int(open(f"/proc/{g.process.pid}/statm").read().split()[1]) * 4096
    assert rss < 400 * 1024 * 1024
    raw.close()


def test_drain(upstream, gateway):
    g = gateway(upstream(saying(*HELLO, pause=0.2)))
    raw = g.open_stream()
    raw.until(b"Hello")
    g.terminate()
    assert b"[DONE]" in raw.rest()
    assert g.stop() == 0


def test_a_stop_in_mid_stream_ends_it(upstream, gateway):
    def script(conn, asked):
        conn.head()
        conn.delta("Hello")
        conn.delta("dear reader")
        conn.closed(20)
        return False
    g = gateway(upstream(script), drain_ms=300)
    raw = g.open_stream()
    raw.until(b"Hello")
    begun = time.monotonic()
    assert g.stop() == 0 and time.monotonic() - begun < 10
    assert b"[DONE]" not in raw.rest()


def test_reload(upstream, gateway, tmp_path):
    g = gateway(upstream(saying(*HELLO)), policy="message: one\n")
    assert g.ask("bomb").json()["error"]["message"] == "one"
    (tmp_path / "policy0.yaml").write_text("version: 1\nmessage: two\n")
    os.kill(g.process.pid, signal.SIGHUP)
    assert g.wait_for_line("policy reloaded")
    assert g.ask("bomb").json()["error"]["message"] == "two"
    (tmp_path / "policy0.yaml").write_text("nonsense: 1\n")
    os.kill(g.process.pid, signal.SIGHUP)
    assert g.wait_for_line("policy not reloaded")
    assert g.ask("bomb").json()["error"]["message"] == "two"


def test_many_at_once(upstream, gateway):
    up = upstream(saying(*HELLO, pause=0.05))
    g = gateway(up)
    raws = [g.open_stream() for _ in range(100)]
    for raw in raws:
        assert text_of(raw.answer()) == "".join(HELLO)
    g.wait_metric(100, "qguard_gateway_outcomes_total", outcome="passed")
    assert g.metric("qguard_gateway_streams") == 0
