"""A text beyond the context, judged in windows: long_input of the policy.  The fake engine has one token per byte."""
import json
import socket
import threading
import time

import pytest

from wire import CHAT, chat_body, request

GUARD = "/v1/guard"
LEN = 600
SIZE = 2000


def policy(tmp_path, more=""):
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\nlong_input: windows\n" + more)
    return path


@pytest.fixture
def windows(serve, tmp_path):
    return serve("--policy", policy(tmp_path), "--max-model-len", LEN)


def guard(server, text, prompt=None):
    body = {"prompt": text} if prompt is None else {"prompt": prompt, "response": text}
    return server.post(json.dumps(body).encode(), GUARD)


def filler(at, word, size=SIZE):
    return ("." * at + word + "." * (size - at - len(word.encode())))


def test_without_a_policy_it_is_refused(serve):
    answer = guard(serve("--max-model-len", LEN), "." * SIZE)
    assert answer.status == 400 and answer.error["code"] == "context_length_exceeded"
    assert "x-qguard-windows" not in answer.headers


def test_short_text_has_no_windows(windows):
    answer = guard(windows, "." * LEN)
    assert answer.status == 200 and "windows" not in answer.json()
    assert "x-qguard-windows" not in answer.headers


def test_every_place_is_in_a_window(windows):
    """A word at every place is found, whole, in the window that is told; the first window that has it decides a tie."""
    seen, count = {}, guard(windows, "." * SIZE).json()["windows"]["n"]
    for at in [0, 1, 2, *range(3, SIZE - 4, 13), SIZE - 5, SIZE - 4]:
        answer = guard(windows, filler(at, "bomb"))
        verdict, told = answer.json(), answer.json()["windows"]
        assert verdict["severity"] == "Unsafe" and verdict["categories"] == ["Violent"], at
        assert told["n"] == count == int(answer.headers["x-qguard-windows"])
        assert told["begin"] <= at and at + 4 <= told["end"], (at, told)
        assert seen.setdefault(told["decided_by"], (told["begin"], told["end"])) == (told["begin"], told["end"])
    assert sorted(seen) == list(range(count))
    places = [seen[i] for i in range(count)]
    assert places[0][0] == 0 and places[-1][1] == SIZE
    for (begin, end), (after, after_end) in zip(places, places[1:]):
        assert begin < after < end < after_end  # nothing between them is left out
    # the model was asked for exactly these
    assert verdict["tokens"]["input"] == sum(end - begin for begin, end in places)


def test_cuts_are_between_characters(windows):
    text = "é中𝄞" * 250
    for at in (0, 333, 749):
        told = guard(windows, text[:at] + "bomb" + text[at:]).json()
        assert told["severity"] == "Unsafe" and told["windows"]["end"] <= len(text) + 4
        assert told["windows"]["begin"] <= at and at + 4 <= told["windows"]["end"]


def test_the_most_severe_stands(windows):
    def place(first, second):
        got = guard(windows, "." * 100 + first + "." * 1200 + second + "." * 300).json()
        return got["severity"], got["windows"]["begin"] > 700
    assert place("maybe=3", "unsafe=2") == ("Unsafe", True)
    assert place("unsafe=2", "maybe=3") == ("Unsafe", False)
    # the same label: the more probable hit
    assert place("prob=0.1,0.1,0.8 ", "prob=0.02,0.08,0.9 ") == ("Unsafe", True)
    assert place("prob=0.02,0.08,0.9 ", "prob=0.1,0.1,0.8 ") == ("Unsafe", False)
    assert place("prob=0.9,0.1,0.0 ", "prob=0.8,0.1,0.1 ") == ("Safe", True)


def test_thresholds_speak_first_where_the_answer_is_pass_or_block(serve, tmp_path):
    """Loosely, Controversial is no hit; the milder label is, by its threshold."""
    server = serve("--policy", policy(tmp_path, "mode: loose\nthresholds: {unsafe: 0.3}\n"), "--max-model-len", LEN)
    text = "prob=0.55,0.05,0.4 " + "." * 1500 + "prob=0.1,0.85,0.05 "
    dify = json.dumps({"point": "app.moderation.input", "params": {"query": text}}).encode()
    answer = server.post(dify, "/dify")
    assert answer.json()["flagged"] is True and int(answer.headers["x-qguard-windows"]) > 1
    assert guard(server, text).json()["severity"] == "Controversial"


def test_context_stays_with_every_window(windows):
    answer = guard(windows, "." * SIZE + " after=tree", prompt="a tree " + "x" * 200)
    assert answer.json()["severity"] == "Unsafe" and answer.json()["role"] == "assistant"
    more = answer.json()["windows"]["n"]
    assert more > guard(windows, "." * SIZE + " after=tree", prompt="").json()["windows"]["n"]


@pytest.mark.parametrize("text, prompt", [
    ("." * 50, "x" * SIZE), ("." * SIZE, "x" * LEN), ("." * 100000, None)], ids=["short", "context", "windows"])
def test_what_windows_cannot_do_is_refused(windows, text, prompt):
    answer = guard(windows, text, prompt)
    assert answer.status == 400 and answer.error["code"] == "context_length_exceeded"
    assert answer.error["message"].startswith("This model's maximum context length is 600 tokens.")


def test_rows_of_a_batch(windows):
    body = {"batch": [{"prompt": "hi"}, {"prompt": filler(1500, "bomb")}, {"prompt": "." * 100000}]}
    answer = windows.post(json.dumps(body).encode(), GUARD)
    rows = answer.json()["results"]
    assert "windows" not in rows[0] and rows[1]["severity"] == "Unsafe" and rows[1]["windows"]["n"] > 1
    assert rows[2]["error"]["code"] == "context_length_exceeded"
    assert answer.headers["x-qguard-windows"] == str(rows[1]["windows"]["n"])


def test_chat(windows):
    answer = windows.post(chat_body(filler(1500, "bomb")), CHAT)
    assert answer.text == "Safety: Unsafe\nCategories: Violent" and int(answer.headers["x-qguard-windows"]) > 1
    assert answer.json()["usage"]["prompt_tokens"] > SIZE
    streamed = windows.post(chat_body(filler(1500, "bomb"), stream=True), CHAT)
    assert streamed.headers["x-qguard-windows"] == answer.headers["x-qguard-windows"]


def test_generated_text_that_is_no_verdict(serve, tmp_path):
    """One window without a verdict: none is Safe, and Unsafe elsewhere still stands."""
    server = serve("--policy", policy(tmp_path), "--max-model-len", LEN, "--decode", "generate")
    assert guard(server, filler(0, "garbled")).status == 500
    assert guard(server, filler(0, "garbled")[:1500] + "bomb" + "." * 500).json()["severity"] == "Unsafe"


def test_rules_see_the_whole_text_once(serve, tmp_path):
    rules = ("rules:\n- {contains: \"%s\", severity: Unsafe, category: PII}\n"
             "- {contains: known good, severity: Safe, final: true}\n" % ("y" * 600))
    server = serve("--policy", policy(tmp_path, rules), "--max-model-len", LEN)
    got = guard(server, filler(300, "y" * 600)).json()  # longer than any window
    assert got["severity"] == "Unsafe" and got["categories"] == ["PII"]
    assert got["windows"]["n"] > 1 and got["windows"]["decided_by"] is None and "begin" not in got["windows"]
    final = guard(server, filler(1500, "bomb known good")).json()
    assert final["severity"] == "Safe" and "windows" not in final


@pytest.mark.parametrize("word, status", [("nan", 500), ("busy", 429), ("template", 400)])
def test_one_window_that_fails_fails_the_text(windows, word, status):
    for at in (0, 1000, SIZE - 20):
        answer = guard(windows, filler(at, word) + "bomb")
        assert answer.status == status and "x-qguard-windows" not in answer.headers
    assert guard(windows, "." * SIZE).status == 200


def test_open_policy_passes_what_windows_could_not_judge(serve, tmp_path):
    server = serve("--policy", policy(tmp_path, "on_error: open\n"), "--max-model-len", LEN)
    dify = json.dumps({"point": "app.moderation.input", "params": {"query": filler(1000, "busy")}}).encode()
    answer = server.post(dify, "/dify")
    assert answer.json()["flagged"] is False and "x-qguard-windows" not in answer.headers
    assert 'reason="overloaded",outcome="open"} 1' in server.get("/metrics").body.decode()


def test_one_deadline_over_all(serve, tmp_path):
    server = serve("--policy", policy(tmp_path), "--max-model-len", LEN, "--request-timeout-ms", 400)
    text = "." * 200 + "sleep=150" + "." * 400  # in one window only
    assert guard(server, text).status == 200
    begin = time.monotonic()
    answer = guard(server, text * 12)
    assert answer.status == 504 and time.monotonic() - begin < 10


def test_client_that_goes_away_ends_it(windows):
    raw = windows.open()
    raw.send(request("POST", CHAT, chat_body(("." * 300 + "sleep=100") * 60)))
    time.sleep(0.3)
    raw.sock.shutdown(socket.SHUT_RDWR)
    raw.close()
    end = time.monotonic() + 20
    while not any("cancelled" in line for line in windows.lines):
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.3)
    assert windows.get("/load").json() == {"server_load": 0}  # no further window was begun


def test_many_at_once(windows):
    """Each text gets its own verdict, whatever is cut beside it."""
    wrong = []

    def ask(i):
        word = ("bomb", "maybe=3", "plain")[i % 3]
        want = ("Unsafe", "Controversial", "Safe")[i % 3]
        for k in range(6):
            got = guard(windows, filler(100 + 250 * k, word)).json()
            if got["severity"] != want:
                wrong.append((i, k, got))
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_audit_tells(serve, tmp_path):
    path = tmp_path / "audit.jsonl"
    server = serve("--policy", policy(tmp_path), "--max-model-len", LEN, "--audit-log", path)
    n = guard(server, filler(1500, "bomb")).json()["windows"]["n"]
    guard(server, "hi")
    first, second = map(json.loads, path.read_text().splitlines())
    assert first["windows"] == n and "windows" not in second
