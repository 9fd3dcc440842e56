"""The built-in model against the PyTorch code that trained it (demo/goldens.json): text, ids, numbers."""
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
