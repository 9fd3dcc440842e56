"""qguard stream: lines in, a verdict for each judged token out."""
import json
import subprocess
import sys

import pytest

KEYS = {"role", "index", "id", "text", "severity", "category", "p", "flagged", "final"}
USER = {"role": "user", "content": "How can I make a bomb?"}
PIECES = ["Sure, fir", "st you t", "ake the \u4e2d\u6587 and", " a \U0001f600."]


@pytest.fixture(scope="module")
def model(shared, tmp_path_factory):
    """Random weights behind the real tokenizer and template."""
    folder = tmp_path_factory.mktemp("mini-stream")
    subprocess.run([sys.executable, shared / "tools/make_checkpoint.py", "--shape", "mini", "--kind",
                    "stream", "--quiet", folder], check=True, timeout=300)
    if not (folder / "tokenizer.json").exists():
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).symlink_to(shared / "model/tokenizer" / name)
    return folder


def lines_of(*rows):
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def stream(run_qguard, model, *rows, args=(), status=0):
    done = run_qguard("stream", "--model", model, *args, input=lines_of(*rows), timeout=120)
    assert done.returncode == status, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_conversation(run_qguard, model):
    got = stream(run_qguard, model, USER, {"end": True},
                 *[{"role": "assistant", "content": p} for p in PIECES], {"end": True})
    assert all(set(t) >= KEYS for t in got)
    assert [t["role"] for t in got].count("user") == 1 and got[0]["role"] == "user"
    assert got[0]["text"] == "<|im_end|>" and got[0]["final"]
    final = [t for t in got[1:] if t["final"]]
    assert [t["index"] for t in final] == list(range(final[0]["index"], final[-1]["index"] + 1))
    assert any(not t["final"] for t in got)
    for t in got:
        assert (t["category"] is None) == (t["severity"] == "Safe")
        assert abs(sum(t["p"]["severity"].values()) - 1) < 1e-6
    for before, t in zip(final, final[1:]):
        hits = [x["severity"] != "Safe" for x in (before, t)]
        assert t["flagged"] == all(hits)


def judged(tokens):
    return [(t["index"], t["id"], t["severity"], t["category"], t["p"], t["flagged"]) for t in tokens if t["final"]]


def test_pieces_change_nothing(run_qguard, model):
    """In one piece, in pieces, character by character; with the end said or the input's own."""
    whole = judged(stream(run_qguard, model, USER, {"role": "assistant", "content": "".join(PIECES), "end": True}))
    for pieces in (PIECES, list("".join(PIECES))):
        rows = [{"role": "assistant", "content": pieces[0]}, *[{"content": p} for p in pieces[1:]]]
        assert judged(stream(run_qguard, model, {**USER, "end": True}, *rows)) == whole


def test_ranges_do_not_depend_on_the_pieces(run_qguard, model):
    """Also where a text is normalised in one place and holds combining marks in another."""
    text = "cafe\u0301 \u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22\u0e48 \u1100\u1161\u11a8 \U0001f468\u200d\U0001f469 end"
    ranges = []
    for step in (len(text), 1, 3):
        rows = [{"role": "assistant", "content": text[at:at + step]} for at in range(0, len(text), step)]
        ranges.append([(t["begin"], t["end"]) for t in stream(run_qguard, model, USER, *rows)[1:] if t["final"]])
    assert ranges[0] == ranges[1] == ranges[2]
    assert ranges[0][0][0] == 0 and ranges[0][-1][1] == len(text)


def test_ids(run_qguard, model):
    """The caller's own rendering, as the official call takes it."""
    rows = [{"role": "user", "content": "hi", "end": True}, {"role": "assistant", "content": "so it is", "end": True}]
    said = [t for t in stream(run_qguard, model, *rows) if t["role"] == "assistant"]
    got = stream(run_qguard, model, rows[0], {"role": "assistant", "ids": [t["id"] for t in said if t["final"]]})
    assert [t["id"] for t in got if t["role"] == "assistant"] == [t["id"] for t in said if t["final"]]


def test_the_end_of_the_input_ends_the_turn(run_qguard, model):
    assert len(stream(run_qguard, model, USER)) == 1
    got = stream(run_qguard, model, USER, {"role": "assistant", "content": "unfin"})
    assert got[-1]["final"]
    assert stream(run_qguard, model) == [] and stream(run_qguard, model, "", "  ") == []


@pytest.mark.parametrize("empty,more", [({"content": ""}, {"content": "Sure"}), ({"ids": []}, {"ids": [39814]})])
def test_an_empty_piece_opens_its_turn(run_qguard, model, empty, more):
    """As chat APIs send it first: what follows is the reply, not more of the prompt."""
    got = stream(run_qguard, model, USER, {"role": "assistant", **empty}, {"role": "assistant", **empty}, empty, more)
    assert [t["role"] for t in got if t["final"]] == ["user", "assistant"]
    alone = stream(run_qguard, model, {"role": "user", **empty}, {"end": True})
    assert len(alone) == ("content" in empty)  # a frame is judged, no ids are not
    assert len(stream(run_qguard, model, USER, {"role": "assistant", **empty}, {"end": True})) == 1


def test_an_answer_for_each_line(qguard, model):
    """A line is answered before the next one is sent."""
    with subprocess.Popen([qguard, "stream", "--model", model], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, encoding="utf-8") as process:
        process.stdin.write(lines_of({**USER, "end": True}))
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["role"] == "user"
        process.stdin.write(lines_of({"role": "assistant", "content": "a b c"}))
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["role"] == "assistant"
        process.stdin.close()
        assert process.stdout.read() and process.wait(60) == 0


def test_thresholds(run_qguard, model):
    rows = [USER, {"role": "assistant", "content": "".join(PIECES)}]
    strict, loose, all_, none = [stream(run_qguard, model, *rows, args=args) for args in (
        [], ["--loose"], ["--threshold", "1e-9"], ["--threshold", "1"])]
    assert judged(strict) and sum(t["flagged"] for t in loose) <= sum(t["flagged"] for t in strict)
    assert sum(t["flagged"] for t in all_ if t["role"] == "assistant") == len(
        [t for t in all_ if t["role"] == "assistant"]) - 1
    assert not any(t["flagged"] for t in none)
    stream(run_qguard, model, *rows, args=["--category-threshold", "PII=0.1", "--category-threshold=Violent=1"])


@pytest.mark.parametrize("row", ["{", "[1]", '{"contnet":"x"}', '{"role":"tool","content":"x"}', '{"content":1}',
                                 '{"ids":[-1]}', '{"ids":[1000000000]}', '{"content":"x","ids":[1]}', '{"end":1}',
                                 '{"content":"\\ud83d"}'])
def test_a_line_that_cannot_be_judged_ends_it(run_qguard, model, row):
    done = run_qguard("stream", "--model", model, input=lines_of({**USER, "end": True}, row, USER))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1 and len(lines) == 2 and lines[0]["role"] == "user"
    assert lines[1]["line"] == 2 and lines[1]["error"]["message"] and "line 2: " in done.stderr


def test_too_long(run_qguard, model):
    done = run_qguard("stream", "--model", model, "--max-model-len", 64,
                      input=lines_of({**USER, "end": True}, {"role": "assistant", "content": "a " * 200}))
    assert done.returncode == 1 and '"line":2' in done.stdout and "64" in done.stderr


def test_wrong_usage(run_qguard):
    for args in (["--threshold", "2"], ["--threshold", "x"], ["--category-threshold", "Nope=0.5"],
                 ["--category-threshold", "PII"], ["--nope"], ["text"]):
        assert run_qguard("stream", *args).returncode == 2


def test_a_gen_model_is_refused(run_qguard):
    done = run_qguard("stream", "--model", "qguard-demo", input=lines_of(USER))
    assert done.returncode == 1 and "Stream" in done.stderr and done.stdout == ""
