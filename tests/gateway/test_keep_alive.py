"""Silence: a stream that has begun gets comments; before that its status is open, and nothing leaves."""
import time

import pytest
from scripted import events, finish_of, reply_of, saying, text_of

PING = b": keep-alive\n\n"


def parts(first, second, wait=0.5, type="text/event-stream", comment=""):
    def script(conn, asked):
        conn.head()
        conn.chunk(comment) if comment else None
        conn.delta(first)
        time.sleep(wait)
        conn.delta(second)
        conn.delta(None, finish="stop")
        conn.end()
    return script


def test_a_silent_upstream(upstream, gateway):
    g = gateway(upstream(parts("A long thought. ", "Then the rest.")), keep_alive_ms=100)
    answer = g.ask()
    assert text_of(answer) == "A long thought. Then the rest." and finish_of(answer) == ["stop"]
    assert 2 <= answer.body.count(PING) <= 8
    for block in answer.body.split(b"\n\n"):
        assert block in (b"", b": keep-alive") or block.startswith(b"data: ")


def test_text_that_is_held_keeps_the_connection_alive(upstream, gateway):
    """All that came waits for its judge: the head and comments leave, no text does."""
    g = gateway(upstream(parts("sleep=600 abc", "d")), keep_alive_ms=100)
    raw = g.open_stream()
    begun = time.monotonic()
    head = raw.until(b"\r\n\r\n")
    assert b"200" in head and time.monotonic() - begun < 0.6
    assert raw.chunks().startswith(PING)


@pytest.mark.parametrize("more", [{}, {"stream": False}])
def test_off_or_no_stream(upstream, gateway, more):
    g = gateway(upstream(parts("a", "b") if not more else lambda c, r: (time.sleep(.4), c.whole(reply_of("a b")))[1]),
                keep_alive_ms=0 if not more else 50)
    assert PING not in g.ask(**more).body


def test_shadow_stays_byte_for_byte(upstream, gateway):
    g = gateway(upstream(parts("a", "b")), keep_alive_ms=50, policy="shadow: true\n")
    assert b"keep-alive" not in g.ask().body


def test_before_the_answer_has_begun_all_is_open(upstream, gateway):
    """The head alone is no beginning: the next server is still asked, a status is still a status."""
    def closes(conn, asked):
        conn.head()
        time.sleep(0.4)
        return False

    def busy(conn, asked):
        time.sleep(0.3)
        conn.whole('{"error":{"message":"no"}}', status="429 Busy")
    good = upstream(saying("fine"))
    g = gateway(upstream(closes), good, keep_alive_ms=50)
    for _ in range(2):
        answer = g.ask()
        assert text_of(answer) == "fine" and PING not in answer.body
    assert gateway(upstream(busy), keep_alive_ms=50).ask().status == 429


def test_a_slow_prompt_keeps_its_status(upstream, gateway):
    g = gateway(upstream(saying("fine")), keep_alive_ms=50, policy="judge_prompt: beside\n")
    answer = g.ask("sleep=500 bomb")
    assert answer.status == 400 and answer.json()["error"]["code"] == "content_filter"
    assert text_of(g.ask("sleep=300 x")) == "fine"


def test_a_failure_after_it_is_an_event(upstream, gateway):
    g = gateway(upstream(parts("sleep=300 abc", "nan")), keep_alive_ms=50)
    answer = g.ask()
    assert answer.status == 200 and answer.body.startswith(PING)
    assert events(answer)[-1] == "[DONE]" or "error" in events(answer)[-1]
    assert any("error" in e for e in events(answer) if e != "[DONE]")


def test_regenerate_stays_possible(upstream, gateway):
    said = iter(["a bomb sleep=200 is", "all is well"])
    up = upstream(lambda conn, asked: parts(next(said), " ", 0.2)(conn, asked))
    answer = gateway(up, keep_alive_ms=50, policy="regenerate: 1\n").ask()
    assert answer.status == 200 and text_of(answer).strip() == "all is well" and len(up.requests) == 2


def test_a_hit_after_it_ends_as_always(upstream, gateway):
    answer = gateway(upstream(parts("sleep=300 x", " a bomb goes off")), keep_alive_ms=50).ask()
    assert finish_of(answer) == ["content_filter"] and answer.body.endswith(b"data: [DONE]\n\n")
    assert PING in answer.body and "bomb" not in text_of(answer)


def test_anthropic_reads_over_them(upstream, gateway):
    def script(conn, asked):
        conn.head()
        for name, data in (("message_start", '{"type":"message_start","message":{"id":"m","type":"message","role":'
                            '"assistant","model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}'),
                           ("content_block_start", '{"type":"content_block_start","index":0,"content_block":'
                            '{"type":"text","text":""}}'),
                           ("content_block_delta", '{"type":"content_block_delta","index":0,"delta":'
                            '{"type":"text_delta","text":"Hello there"}}')):
            conn.chunk(f"event: {name}\r\ndata: {data}\r\n\r\n")
        time.sleep(0.4)
        for name, data in (("content_block_stop", '{"type":"content_block_stop","index":0}'),
                           ("message_delta", '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":'
                            '{"output_tokens":2}}'), ("message_stop", '{"type":"message_stop"}')):
            conn.chunk(f"event: {name}\r\ndata: {data}\r\n\r\n")
        conn.send(b"0\r\n\r\n")
    answer = gateway(upstream(script), keep_alive_ms=100).ask(path="/v1/messages", max_tokens=9)
    assert PING in answer.body and b"message_stop" in answer.body
    assert b"".join(answer.body.split(PING)).count(b"event: ") == 6
