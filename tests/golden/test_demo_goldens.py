"""The built-in models against the PyTorch code that trained them (demo/goldens.json, goldens-stream.json): text, ids,
numbers."""
import json
import math

import pytest

# float32 against float32; bf16 rounds activations, so choices are compared where the margin allows
TOLERANCE = {"float32": 2e-3, "bfloat16": 0.25}


@pytest.fixture(scope="module")
def cases(repo):
    return json.loads((repo / "demo/goldens.json").read_text())["cases"]


def ask(run_qguard, command, rows, *args):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    done = run_qguard(*command, "--jsonl", "--quiet", *args, input=text, timeout=120)
    answers = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert len(answers) == len(rows), done.stderr
    return answers


def test_prompts(run_qguard, cases):
    rows = [{"messages": c["messages"]} for c in cases]
    for case, answer in zip(cases, ask(run_qguard, ["render", "--ids"], rows)):
        assert answer["text"] == case["rendered"]
        assert answer["ids"] == case["ids"]


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_logits(run_qguard, cases, dtype):
    steps = [(c, s) for c in cases for s in c["steps"]]
    rows = [{"ids": c["ids"] + s["ids"], "columns": [i for i, _ in s["logits"].values()]}
            for c, s in steps]
    for (_, step), answer in zip(steps, ask(run_qguard, ["logits"], rows, "--dtype", dtype)):
        values = answer["logits"][0]["values"]
        for i, reference in step["logits"].values():
            assert abs(values[str(i)] - reference) < TOLERANCE[dtype], step["forced"]


def softmax(logits):
    top = max(logits.values())
    total = sum(math.exp(x - top) for x in logits.values())
    return {k: math.exp(x - top) / total for k, x in logits.items()}


@pytest.mark.parametrize("decode", ["verdict", "generate"])
def test_verdicts(run_qguard, cases, decode):
    rows = [{"messages": c["messages"]} for c in cases]
    answers = ask(run_qguard, ["check"], rows, "--dtype", "float32", "--decode", decode)
    for case, answer in zip(cases, answers):
        lines = dict(line.split(": ") for line in case["text"].split("\n"))
        assert answer["severity"] == lines["Safety"]
        assert (answer["categories"] or ["None"]) == [lines["Categories"]]
        assert answer["refusal"] == lines.get("Refusal")
        if decode == "verdict":
            p = softmax({k: x for k, (_, x) in case["steps"][0]["logits"].items()})
            for label, expected in p.items():
                assert abs(answer["p"]["severity"][label] - expected) < 1e-3


STREAM = "qguard-demo-stream"
HEADS = ("risk", "category", "query_risk", "query_category")


@pytest.fixture(scope="module")
def stream_cases(repo):
    return json.loads((repo / "demo/goldens-stream.json").read_text())["cases"]


def test_stream_prompts(run_qguard, stream_cases):
    rows = [{"messages": c["messages"]} for c in stream_cases]
    answers = ask(run_qguard, ["render", "--ids"], rows, "--model", STREAM)
    for case, answer in zip(stream_cases, answers):
        assert answer["text"] == case["rendered"]
        assert answer["ids"] == case["ids"]


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("pieces", [False, True])
def test_stream_heads(run_qguard, stream_cases, dtype, pieces):
    rows = [{"ids": c["ids"], "positions": [h["position"] for h in c["heads"]]} for c in stream_cases]
    for row in rows if pieces else []:
        row["splits"] = [2] + [1] * (len(row["ids"]) - 2)
    answers = ask(run_qguard, ["logits"], rows, "--model", STREAM, "--dtype", dtype)
    for case, answer in zip(stream_cases, answers):
        for want, got in zip(case["heads"], answer["heads"], strict=True):
            assert got["position"] == want["position"]
            for head in HEADS:
                assert got[head] == pytest.approx(want[head], abs=TOLERANCE[dtype]), case["messages"]


def test_stream_files_are_the_built_in_ones(run_qguard, repo, stream_cases):
    rows = [{"ids": stream_cases[0]["ids"], "positions": "last"}]
    folder = str(repo / "demo/model-stream")
    assert ask(run_qguard, ["logits"], rows, "--model", folder) == \
        ask(run_qguard, ["logits"], rows, "--model", STREAM)


def test_gen_by_its_name(run_qguard):
    named = run_qguard("inspect", "--json", "--model", "qguard-demo").stdout
    assert named == run_qguard("inspect", "--json").stdout
    assert json.loads(named)["name"] == "qguard-demo"
    assert json.loads(run_qguard("inspect", "--json", "--model", STREAM).stdout)["name"] == STREAM
