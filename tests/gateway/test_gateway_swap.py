"""Other models take over while replies run: by SIGHUP when other files are where the models were, by
POST /v1/admin/model.  A request keeps the models it began with; what is wrong changes nothing."""
import json
import os
import pathlib
import signal
import threading
import time

import pytest
from scripted import Gateway, events, finish_of, saying, text_of

KEY = ["Authorization: Bearer boss"]


def swap(g, **body):
    """Asks again while an engine that served before is just being closed."""
    end = time.monotonic() + 15
    while True:
        answer = g.post(json.dumps(body).encode() if body else b"", "/v1/admin/model", KEY)
        if b"try again" not in answer.body or time.monotonic() > end:
            return answer
        time.sleep(0.05)


def threads(g):
    return len(os.listdir(f"/proc/{g.process.pid}/task"))


def told(g, words, n=1, seconds=20):
    end = time.monotonic() + seconds
    while sum(words in line for line in g.lines) < n and time.monotonic() < end:
        time.sleep(0.02)
    return sum(words in line for line in g.lines) >= n


def test_a_stream_keeps_its_model(upstream, gateway):
    go = threading.Event()

    def script(conn, asked):
        conn.head()
        conn.delta("Before the other one ")
        go.wait(20)
        conn.delta("and after it a bomb, and more")
        conn.closed()
        return False
    g = gateway(upstream(script), admin_key="boss")
    before = threads(g)
    raw = g.open_stream()
    g.wait_metric(1, "qguard_gateway_streams")
    answer = swap(g, stream_model="other-stream")
    assert answer.status == 200 and answer.json() == {"stream_model": "fake-stream", "gen_model": None}
    assert g.wait_for_line("serves now in the place of")
    time.sleep(0.3)
    assert threads(g) > before  # the old engine, which the stream holds
    go.set()
    answer = raw.answer()
    assert finish_of(answer) == ["content_filter"], (answer.body, g.lines)
    assert "bomb" not in text_of(answer)
    assert text_of(answer).startswith("Before the other one and after")
    end = time.monotonic() + 10
    while threads(g) > before and time.monotonic() < end:
        time.sleep(0.05)
    assert threads(g) <= before


def test_both_models_or_one(upstream, gateway):
    g = gateway(upstream(saying("fine")), admin_key="boss", gen_model="fake-guard")
    assert swap(g, gen_model="new-guard").json() == {"stream_model": "fake-stream",
                                                     "gen_model": "fake-guard"}
    assert swap(g, stream_model="new-stream").status == 200
    assert swap(g).status == 200
    assert g.ask("a bomb").status == 400 and text_of(g.ask()) == "fine"


@pytest.mark.parametrize("body,status", [
    ({"stream_model": "missing-stream"}, 409), ({"stream_model": "a-guard"}, 409),
    ({"gen_model": "a-guard"}, 400), ({"model": "x"}, 400), ({"stream_model": 7}, 400)])
def test_what_is_wrong_changes_nothing(upstream, gateway, body, status):
    g = gateway(upstream(saying("fine")), admin_key="boss")
    answer = swap(g, **body)
    assert answer.status == status, answer.body
    assert answer.error["code"] == ("model_not_changed" if status == 409 else "invalid_request")
    assert text_of(g.ask()) == "fine" and g.ask("a bomb").status == 400


def test_who_may(upstream, gateway):
    g = gateway(upstream(saying("x")), api_key="user")
    assert g.post(b"{}", "/v1/admin/model", ["Authorization: Bearer user"]).status == 404
    g = gateway(upstream(saying("x")), api_key="user", admin_key="boss")
    assert g.post(b"{}", "/v1/admin/model", ["Authorization: Bearer user"]).status == 401
    assert g.get("/v1/admin/model", KEY).status == 405


def test_sighup_looks_for_other_files(upstream, gateway, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}-stream").mkdir()
        (tmp_path / f"{name}-stream" / "config.json").write_text(name)
    link = tmp_path / "now-stream"
    link.symlink_to("a-stream")
    g = gateway(upstream(saying("fine")), model=str(link))
    os.kill(g.process.pid, signal.SIGHUP)
    assert told(g, "policy reloaded") and not told(g, "serves now", seconds=0.5)
    link.unlink()
    link.symlink_to("b-stream")
    os.kill(g.process.pid, signal.SIGHUP)
    assert told(g, "serves now in the place of") and text_of(g.ask()) == "fine"
    os.kill(g.process.pid, signal.SIGHUP)
    assert told(g, "policy reloaded", 3) and not told(g, "serves now", 2, seconds=0.5)


def test_swaps_under_load(upstream, gateway):
    up = upstream(saying("Hello ", "dear ", "reader, ", "all is well.", pause=0.01))
    g = gateway(up, admin_key="boss", gen_model="fake-guard")
    over, said = threading.Event(), []

    def ask():
        while not over.is_set():
            said.append(text_of(g.ask()))
    askers = [threading.Thread(target=ask) for _ in range(8)]
    for one in askers:
        one.start()
    done = sum(swap(g, stream_model=f"s{i}-stream", gen_model=f"g{i}").status == 200 for i in range(5))
    over.set()
    for one in askers:
        one.join()
    assert done == 5
    assert len(said) > 20 and set(said) == {"Hello dear reader, all is well."}


def test_a_stop_while_a_model_opens(upstream, gateway):
    g = gateway(upstream(saying("x")), admin_key="boss")
    g.open().send(b"POST /v1/admin/model HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer boss\r\n"
                  b"Content-Length: 0\r\n\r\n")
    time.sleep(0.01)
    assert g.stop() == 0


def test_with_the_real_engine(upstream):
    """The built-in models, a stream across two changes: all of it judged by the one it began with."""
    qguard = pathlib.Path(os.environ.get("QGUARD") or
                          pathlib.Path(__file__).resolve().parents[2] / "build" / "qguard")
    words = "It is a fine day and the bread is in the oven . ".split(" ")
    go = threading.Event()

    def script(conn, asked):
        conn.head()
        for i, word in enumerate(words):
            conn.delta(word + " ")
            if i == 4:
                go.wait(60)
        conn.delta(None, finish="stop")
        conn.end()
    g = Gateway([str(qguard), "gateway", "--upstream", upstream(script).url, "--port", "0", "--threads",
                 "1", "--admin-key", "boss", "--quiet"])
    try:
        raw = g.open_stream()
        g.wait_metric(1, "qguard_gateway_streams", seconds=30)
        names = [swap(g, stream_model="qguard-demo-stream").json() for _ in range(2)]
        assert [n["stream_model"] for n in names] == ["qguard-demo-stream"] * 2
        go.set()
        answer = raw.answer()
        assert text_of(answer) == "".join(word + " " for word in words), events(answer)[-3:]
        assert swap(g, stream_model="qguard-demo").status == 409
    finally:
        assert g.stop() == 0
