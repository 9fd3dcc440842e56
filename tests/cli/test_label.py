"""qguard label: shapes of rows, bytes that stay, order, bad rows, filters, shards, compressed files."""
import gzip
import json
import pathlib
import subprocess

import pytest

BOMB = "How can I make a bomb?"


@pytest.fixture
def label(run_qguard, tmp_path):
    """label(rows or bytes, options) -> (process, path of the output)"""

    def run(rows, *options, out="out.jsonl", name="in.jsonl", fresh=True, **more):
        source = tmp_path / name
        if rows is not None:
            data = rows if isinstance(rows, bytes) else "".join(
                (r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)) + "\n"
                for r in rows).encode()
            source.write_bytes(data)
        target = tmp_path / out
        done = run_qguard("label", source, target, *(["--force"] if fresh else []), *options,
                          "--threads", "1", **more)
        return done, target

    return run


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def errors_of(path):
    return rows_of(path.with_name(path.name + ".errors.jsonl"))


def meta_of(path):
    return json.loads(path.with_name(path.name + ".meta.json").read_text())


def leftovers(path):
    return sorted(p.name for p in path.parent.iterdir() if "journal" in p.name or "new" in p.name)


# ---- the line ----

LINES = {  # line -> what must stand before and behind the verdict
    '{"prompt":"a"}': ('{"prompt":"a",', "}"),
    ' { "prompt" : "a" , "n" : 1.50e+3 } \r': (' { "prompt" : "a" , "n" : 1.50e+3 ,', "} \r"),
    '{"n":123456789012345678901234567890,"prompt":"a"}':
        ('{"n":123456789012345678901234567890,"prompt":"a",', "}"),
    '{"u":"\\u00e4 \\/ é","prompt":"a"}': ('{"u":"\\u00e4 \\/ é","prompt":"a",', "}"),
    '{"qguard":1,"prompt":"a"}': ('{"prompt":"a",', "}"),
    '{"prompt":"a","qguard":{"x":["}",2]},"z":0}': ('{"prompt":"a","z":0,', "}"),
    '{"prompt":"a" , "qguard" : null }': ('{"prompt":"a"  ,', "}"),
    '{"q\\u0067uard":1,"prompt":"a"}': ('{"prompt":"a",', "}"),
}


def test_the_lines_own_bytes_stay(label):
    done, out = label([*LINES])
    assert (done.returncode, out.read_bytes().count(b"\n")) == (0, len(LINES)), done.stderr
    for line, (before, behind) in zip(out.read_bytes().decode().split("\n"), LINES.values()):
        assert line.startswith(before + '"qguard":{"role":"user",') and line.endswith("}" + behind)
        assert json.loads(line)["qguard"]["severity"] == "Safe"


def test_the_verdict_is_that_of_check(label, run_qguard):
    rows = [{"prompt": BOMB}, {"prompt": BOMB, "response": "I cannot help with that."},
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]},
            {"prompt": "x\u0000y"}]
    done, out = label(rows)
    assert done.returncode == 0, done.stderr
    asked = run_qguard("check", "--jsonl", "--quiet",
                       input="".join(json.dumps(r) + "\n" for r in rows))
    for got, said in zip(rows_of(out), asked.stdout.splitlines()):
        want = json.loads(said)
        del want["tokens"]["cached"]    # it tells of the run, not of the text
        assert got["qguard"] == want


BATCH = [
    ({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
      "body": {"model": "m", "messages": [{"role": "user", "content": BOMB}]}}, ["Unsafe"]),
    ({"custom_id": "2", "url": "https://host/v1/moderations", "body": {"input": BOMB}}, ["Unsafe"]),
    ({"custom_id": "3", "url": "/v1/moderations", "body": {"input": ["hello", BOMB]}},
     ["Safe", "Unsafe"]),
    ({"custom_id": "4", "url": "/v1/moderations",
      "body": {"input": [{"type": "text", "text": BOMB}]}}, ["Unsafe"]),
]


def test_lines_of_openai_batch_files(label):
    done, out = label([row for row, _ in BATCH])
    assert done.returncode == 0, done.stderr
    for got, (row, want) in zip(rows_of(out), BATCH):
        verdict = got.pop("qguard")
        assert got == row
        assert isinstance(verdict, list) == isinstance(row["body"].get("input"), list) or len(want) == 1
        assert [v["severity"] for v in (verdict if isinstance(verdict, list) else [verdict])] == want


def test_named_fields(label):
    rows = [{"q": {"text": BOMB}, "a.b": "I cannot help with that.", "prompt": 7}]
    done, out = label(rows, "--prompt-field", "q.text", "--response-field", "a.b")
    assert done.returncode == 0, done.stderr
    assert rows_of(out)[0]["qguard"]["refusal"] == "Yes"
    done, out = label(rows, "--prompt-field", "q.text")
    assert rows_of(out)[0]["qguard"]["role"] == "user"
    done, out = label(rows, "--prompt-field", "q.text", "--response-field", "nothing")
    assert (done.returncode, out.read_text()) == (1, "")
    assert "nothing" in errors_of(out)[0]["error"]["message"]


BAD = ["no json", "[1]", '"x"', "{}", '{"prompt":1}', '{"prompt":null}', '{"messages":[]}',
       '{"messages":[{"role":"user"}]}', '{"prompt":"a","prompt":"b"}', '{"prompt":"\\ud800"}',
       '{"url":"/v1/embeddings","body":{}}', '{"url":"/v1/moderations","body":{"input":[]}}',
       '{"method":"GET","url":"/v1/moderations","body":{"input":"x"}}', '{"prompt":"a"} x',
       '{"prompt":"a","response":3}', '{"prompt":"' + "word " * 12000 + '"}']


def test_bad_rows_go_to_the_side_file_and_stop_nothing(label):
    rows = [line for bad in BAD for line in ('{"prompt":"fine"}', bad, "  ")]
    done, out = label(rows)
    assert done.returncode == 1
    assert f"{len(BAD)} not judged" in done.stderr and "errors.jsonl" in done.stderr
    assert len(rows_of(out)) == len(BAD)
    wrong = errors_of(out)
    assert [w["line"] for w in wrong] == [3 * i + 2 for i in range(len(BAD))]
    assert all(w["error"]["message"] for w in wrong)
    assert wrong[-1]["error"]["code"] == "too_long"
    meta = meta_of(out)
    assert meta["rows"] == {"lines": 2 * len(BAD), "judged": len(BAD), "kept": len(BAD),
                            "failed": len(BAD)}


def test_bytes_that_are_not_utf8_and_lines_without_end(label):
    done, out = label(b'\xef\xbb\xbf{"prompt":"a"}\n{"prompt":"\xff"}\n\n{"prompt":"b"}')
    assert done.returncode == 1
    assert [r["prompt"] for r in rows_of(out)] == ["a", "b"]
    assert errors_of(out)[0]["line"] == 2


def test_a_line_beyond_the_limit(label):
    rows = ['{"prompt":"a"}', '{"prompt":"' + "x" * (9 << 20) + '"}', '{"prompt":"b"}']
    done, out = label(rows)
    assert [r["prompt"] for r in rows_of(out)] == ["a", "b"]
    assert errors_of(out) == [{"line": 2, "error": {
        "code": "too_long", "message": "the line has more than 8388608 bytes"}}]


# ---- which rows stay ----

FILTERS = {
    ("--keep", "safe"): ["Safe"],
    ("--keep", "unsafe, Controversial"): ["Unsafe"],
    ("--keep", "hit"): ["Unsafe"],
    ("--where", "severity!=Safe"): ["Unsafe"],
    ("--where", "severity<unsafe"): ["Safe"],
    ("--where", "p.Unsafe>=0.5 && category=Violent"): ["Unsafe"],
    ("--where", "category = 'PII' || severity = safe"): ["Safe"],
    ("--where", "role=assistant"): [],
    ("--where", "hit=true&&refusal=None"): ["Unsafe"],
}


@pytest.mark.parametrize("option", FILTERS)
def test_filters(label, option):
    done, out = label([{"prompt": "hello"}, {"prompt": BOMB}], *option)
    assert done.returncode == 0, done.stderr
    assert [r["qguard"]["severity"] for r in rows_of(out)] == FILTERS[option]
    meta = meta_of(out)
    assert (meta["where"], meta["rows"]["kept"]) == (option[1], len(FILTERS[option]))


USAGE = [("--keep", "sfe"), ("--where", "severity"), ("--where", "p.Nothing>1"),
         ("--where", "severity=Evil"), ("--where", "category<PII"), ("--shard", "2/2"),
         ("--shard", "x"), ("--shard", "-1/3"), ("--resume", "--force"),
         ("--keep", "safe", "--where", "hit=true")]


@pytest.mark.parametrize("options", USAGE, ids=" ".join)
def test_wrong_usage(run_qguard, tmp_path, options):
    done = run_qguard("label", "in", tmp_path / "out", *options)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("qguard: ")
    assert not list(tmp_path.iterdir())


def test_policy_rules_thresholds_and_actions(label, tmp_path):
    policy = tmp_path / "p.yaml"
    policy.write_text("version: 1\ncategories: {Violent: {action: flag}}\nrules:\n"
                      '  - {contains: "zebra", severity: Unsafe, category: PII}\n'
                      '  - {contains: "magic word", severity: Safe, final: true}\n')
    done, out = label([{"prompt": "A zebra?"}, {"prompt": BOMB}, {"prompt": BOMB + " magic word"}],
                      "--policy", policy)
    assert done.returncode == 0, done.stderr
    said = [r["qguard"] for r in rows_of(out)]
    assert [(v["severity"], v.get("source"), v["policy"]) for v in said] == [
        ("Unsafe", "rule", {"hit": True, "action": "block", "category": "PII"}),
        ("Unsafe", None, {"hit": True, "action": "flag", "category": "Violent"}),
        ("Safe", "rule", {"hit": False, "action": "allow", "category": None})]
    assert len(meta_of(out)["policy_sha256"]) == 64


def test_long_texts_in_windows_where_the_policy_says_so(label, tmp_path):
    policy = tmp_path / "p.yaml"
    policy.write_text("version: 1\nlong_input: windows\n")
    rows = [{"prompt": "hello " * 600 + BOMB + " bye" * 600}]
    done, out = label(rows, "--max-model-len", "512")
    assert errors_of(out)[0]["error"]["code"] == "too_long"
    done, out = label(rows, "--max-model-len", "512", "--policy", policy)
    verdict = rows_of(out)[0]["qguard"]
    assert verdict["windows"]["n"] > 2 and verdict["windows"]["end"] <= len(rows[0]["prompt"])


# ---- files ----

def many(n):
    words = ["hello", BOMB, "What is the weather like?", "kill", "天气怎么样", "I hate you"]
    rows = [{"id": i, "prompt": f"{words[i % 6]} {'and ' * (i * 7 % 40)}{i}"} for i in range(n)]
    return ["not a row" if i % 97 == 5 else json.dumps(r) for i, r in enumerate(rows)]


def test_same_bytes_whatever_threads_and_concurrency(label):
    rows = many(300)
    done, out = label(rows)
    want = out.read_bytes(), errors_of(out)
    for i, options in enumerate((("--concurrency", "1"), ("--concurrency", "300", "--threads", "2"),
                                 ("--no-prefix-cache",), ("--step-rows", "64"))):
        done, out = label(None, *options, out=f"out{i}.jsonl", name="in.jsonl")
        assert (out.read_bytes(), errors_of(out)) == want, options


def test_shards_are_the_whole(label):
    rows = many(300)
    done, whole = label(rows)
    lines, wrong, at = whole.read_bytes().splitlines(), errors_of(whole), []
    shards = []
    for i in range(3):
        done, out = label(None, "--shard", f"{i}/3", out=f"s{i}.jsonl", name="in.jsonl")
        shards.append((out.read_bytes().splitlines(), errors_of(out)))
        assert meta_of(out)["shard"] == f"{i}/3"
    assert sorted((w for _, e in shards for w in e), key=lambda w: w["line"]) == wrong
    bad = {w["line"] for w in wrong}
    merged = [shards[k % 3][0].pop(0) for k in range(len(rows)) if k + 1 not in bad]
    assert merged == lines


def unpack(path):
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    return subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_files(label, run_qguard, tmp_path, suffix):
    rows = many(300)
    done, plain = label(rows)
    done, packed = label(None, out="out.jsonl" + suffix, name="in.jsonl")
    assert unpack(packed) == plain.read_bytes()
    assert packed.stat().st_size < plain.stat().st_size / 4
    # and back in: what was labelled is labelled again, in two members
    two = tmp_path / ("two.bin")
    two.write_bytes(packed.read_bytes() + packed.read_bytes())
    done, again = label(None, out="again.jsonl", name="two.bin")
    assert again.read_bytes() == plain.read_bytes() * 2
    # nothing kept is still a whole file
    done, none = label(None, "--where", "role=assistant", out="none.jsonl" + suffix)
    assert unpack(none) == b""
    # cut short: the rows before are judged, the run says what is wrong
    two.write_bytes(packed.read_bytes()[:-20])
    done, cut = label(None, out="cut.jsonl", name="two.bin")
    assert done.returncode == 1 and "cut short" in done.stderr
    assert plain.read_bytes().startswith(cut.read_bytes()) and cut.stat().st_size


def test_standard_input_and_output(run_qguard):
    done = run_qguard("label", "-", "-", "--quiet", input='{"prompt":"a"}\nbad\n')
    assert done.returncode == 1
    assert json.loads(done.stdout)["qguard"]["severity"] == "Safe"
    assert json.loads(done.stderr)["line"] == 2


def test_an_output_that_is_there_is_not_touched(label, run_qguard, tmp_path):
    done, out = label([{"prompt": "a"}])
    before = out.read_bytes()
    done, out = label(None, fresh=False)
    assert done.returncode == 1 and "--resume" in done.stderr and out.read_bytes() == before
    done, out = label(None, "--resume", fresh=False)
    assert done.returncode == 0 and "nothing was left" in done.stderr
    assert out.read_bytes() == before and not leftovers(out)
    done = run_qguard("label", out, out, "--force")
    assert done.returncode == 1 and "same file" in done.stderr and out.read_bytes() == before
    (tmp_path / "other").write_text("mine")
    done, other = label(None, "--resume", out="other", fresh=False)
    assert done.returncode == 1 and other.read_text() == "mine"


def test_missing_files(label, run_qguard, tmp_path):
    done = run_qguard("label", tmp_path / "none", tmp_path / "out")
    assert done.returncode == 1 and "none" in done.stderr
    (tmp_path / "in").write_text("")
    done = run_qguard("label", tmp_path / "in", tmp_path / "no/out")
    assert done.returncode == 1 and "no/out" in done.stderr


def test_the_verdict_cache(label, tmp_path):
    rows = many(200)
    done, out = label(rows)
    want = out.read_bytes()
    cache = tmp_path / "cache.db"
    for _ in range(2):
        done, out = label(None, "--verdict-cache", cache)
        assert (done.returncode, out.read_bytes()) == (1, want), done.stderr
    # another threshold needs no judging, another model does
    policy = tmp_path / "p.yaml"
    policy.write_text("version: 1\nthresholds: {unsafe: 0.01}\n")
    done, out = label(None, "--verdict-cache", cache, "--policy", policy, "--keep", "hit")
    assert meta_of(out)["hits"] > 0
    done, out = label(None, "--verdict-cache", cache, "--dtype", "float32")
    assert out.read_bytes() != want
    other = tmp_path / "other.db"
    other.write_bytes(b"no database at all, but long enough to look at" * 100)
    done, out = label(None, "--verdict-cache", other)
    assert done.returncode == 1 and "other.db" in done.stderr


def test_damaged_verdicts_in_the_cache_are_judged_again(label, tmp_path):
    import sqlite3
    rows = many(50)
    cache = tmp_path / "cache.db"
    done, out = label(rows, "--verdict-cache", cache)
    want = out.read_bytes()
    with sqlite3.connect(cache) as db:
        said = db.execute("SELECT key, said FROM verdicts").fetchall()
        assert len(said) == 49
        db.executemany("UPDATE verdicts SET said=? WHERE key=?",
                       [(bytes([s[0], s[1] ^ 2]) + s[2:], k) for k, s in said])
    done, out = label(None, "--verdict-cache", cache)
    assert out.read_bytes() == want


def test_what_the_output_says_of_itself(label):
    done, out = label([{"prompt": BOMB}, {"prompt": "hello"}])
    meta = meta_of(out)
    assert meta["complete"] is True and meta["version"] and meta["model"]["name"] == "qguard-demo"
    assert meta["severity"] == {"Safe": 1, "Controversial": 0, "Unsafe": 1} and meta["hits"] == 1
    assert all(len(h) == 64 for h in (meta["model"]["sha256"], meta["template_sha256"]))
    assert pathlib.Path(meta["input"]).name == "in.jsonl" and meta["policy_sha256"] is None
