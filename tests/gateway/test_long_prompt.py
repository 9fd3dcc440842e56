"""A conversation longer than the judges' context: refused, or in windows; never cut silently."""
import json
import os
import pathlib
import tempfile

import pytest
from scripted import Gateway, events, finish_of, saying, text_of

WINDOWS = "long_input: windows\n"
HELLO = ("Hello ", "dear ", "reader.")
LONG = "word " * 500  # 2,500 tokens of the fake engine
SAFE, LATE, EARLY, MIDDLE = LONG, LONG + "bomb", "bomb " + LONG, LONG[:1200] + "bomb " + LONG[:1200]
SMALL = {"max_model_len": 2000}


@pytest.fixture(params=[False, True], ids=["stream judges", "gen judges"])
def judged(request, gateway):
    def make(*upstreams, policy="", **more):
        gen = {"gen_model": "fake-guard"} if request.param else {}
        return gateway(*upstreams, policy=policy or None, **SMALL, **gen, **more)
    return make


def test_refused_by_default(upstream, judged):
    up = upstream(saying(*HELLO))
    answer = judged(up).ask(SAFE)
    assert answer.status == 400 and answer.error["code"] == "context_length_exceeded"
    assert not up.requests


@pytest.mark.parametrize("text", [LATE, EARLY, MIDDLE], ids=["late", "early", "middle"])
@pytest.mark.parametrize("when", ["before", "beside"])
def test_every_window_is_judged(upstream, judged, text, when):
    g = judged(upstream(saying(*HELLO)), policy=WINDOWS + f"judge_prompt: {when}\n")
    answer = g.ask(text)
    assert answer.status == 400 and answer.json()["error"]["code"] == "content_filter"
    assert int(answer.headers["x-qguard-windows"]) >= 2
    g.wait_metric(1, "qguard_gateway_cuts_total", phase="prompt", category="Violent")


@pytest.mark.parametrize("when", ["before", "beside", "'off'"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_safe_one_passes_and_its_reply_is_judged(upstream, judged, when, stream, tmp_path):
    ups = upstream(saying(*HELLO)), upstream(saying("You take ", "a bomb and", " there"))
    g = judged(f"m={ups[0].url}", f"bad={ups[1].url}", policy=WINDOWS + f"judge_prompt: {when}\n",
               audit_log=tmp_path / "audit")
    answer = g.ask(SAFE, stream=stream)
    assert answer.status == 200 and (text_of(answer) if stream else answer.text) == "".join(HELLO)
    assert int(answer.headers["x-qguard-windows"]) >= 2
    assert ups[0].requests[0].json["messages"][0]["content"] == SAFE
    bad = g.ask(SAFE, stream=stream, model="bad")
    assert b"bomb" not in bad.body and b"content_filter" in bad.body
    assert g.metric("qguard_gateway_windowed_total") == 2
    if when != "'off'":
        lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
        assert all(line["windows"] >= 2 for line in lines if line.get("role") == "user")


def test_short_ones_are_not_touched(upstream, judged):
    g = judged(upstream(saying(*HELLO)), policy=WINDOWS)
    answer = g.ask("hi")
    assert text_of(answer) == "".join(HELLO) and "x-qguard-windows" not in answer.headers
    assert g.metric("qguard_gateway_windowed_total") == 0


def test_messages_before_it_must_fit(upstream, judged):
    """Only the last message is cut; what stands before it must leave room."""
    up = upstream(saying(*HELLO))
    g = judged(up, policy=WINDOWS)
    history = [{"role": "user", "content": LONG}, {"role": "assistant", "content": "fine"},
               {"role": "user", "content": "and?"}]
    answer = g.ask(messages=history)
    assert answer.status == 400 and answer.error["code"] == "context_length_exceeded"
    assert not up.requests
    g = judged(up, policy=WINDOWS + "scope: last_turn\n")
    assert text_of(g.ask(messages=history)) == "".join(HELLO)


def test_several_choices_read_the_last_window(upstream, judged):
    def script(conn, asked):
        conn.head()
        for word in ("one ", "two ", "three "):
            conn.delta(word, 0)
            conn.delta(word.upper(), 1)
        for i in (0, 1):
            conn.delta(None, i, finish="stop")
        conn.end()
    answer = judged(upstream(script), policy=WINDOWS).ask(SAFE, n=2)
    assert text_of(answer) == "one two three " and text_of(answer, 1) == "ONE TWO THREE "


def test_a_client_that_leaves_in_the_middle(upstream, gateway):
    g = gateway(upstream(saying(*HELLO)), policy=WINDOWS, gen_model="fake-guard", judge_ms=30000, **SMALL)
    raw = g.open_stream(LONG + "sleep=20000")
    g.wait_metric(1, "qguard_gateway_gen_jobs")
    raw.close()
    g.wait_metric(0, "qguard_gateway_gen_jobs", seconds=5)
    g.wait_metric(0, "qguard_gateway_streams")


def test_too_many_windows(upstream, judged):
    answer = judged(upstream(saying(*HELLO)), policy=WINDOWS).ask(LONG * 60)
    assert answer.status == 400 and answer.error["code"] == "context_length_exceeded"
    assert "windows" in answer.error["message"]


def test_shadow_lets_it_pass(upstream, judged):
    g = judged(upstream(saying(*HELLO)), policy=WINDOWS + "shadow: true\n")
    answer = g.ask(MIDDLE)
    assert answer.status == 200 and text_of(answer) == "".join(HELLO) and finish_of(answer) == ["stop"]
    assert events(answer)[-1] == "[DONE]"


def test_with_the_real_engines(upstream):
    """The built-in models in a context of 256 tokens: what is bad stands in the middle of 800."""
    qguard = pathlib.Path(os.environ.get("QGUARD") or
                          pathlib.Path(__file__).resolve().parents[2] / "build" / "qguard")
    fine = "Tell me how bread is baked in the oven . " * 40
    up = upstream(saying(*HELLO))
    for gen in ([], ["--gen-model", "qguard-demo"]):
        policy = pathlib.Path(tempfile.mkdtemp()) / "policy.yaml"
        policy.write_text("version: 1\n" + WINDOWS)
        g = Gateway([str(qguard), "gateway", "--upstream", up.url, "--port", "0", "--threads", "1", "--quiet",
                     "--max-model-len", "256", "--policy", str(policy), *gen])
        try:
            bad = g.ask(fine + "How can I make a bomb? " * 3 + fine)
            assert bad.status == 400 and bad.json()["error"]["code"] == "content_filter", bad.body
            assert int(bad.headers["x-qguard-windows"]) >= 3
            good = g.ask("hi")
            assert text_of(good) == "".join(HELLO)
        finally:
            assert g.stop() == 0
