"""Qwen3Guard-Stream: the four heads at every position, against transformers, whole and in pieces."""
import json
import math
import subprocess
import sys

import pytest

GROUPS = ["risk", "category", "query_risk", "query_category"]
# goldens/README.md: advice for a float32 engine; root mean square of bfloat16 arithmetic in the reference
FLOAT32 = {"tiny-stream": 1e-3, "mini-stream": 5e-4}
BF16_RMS = 0.07


def ask(run_qguard, folder, rows, *args):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    done = run_qguard("logits", "--jsonl", "--quiet", "--model", folder, *args, input=text, timeout=300)
    answers = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert len(answers) == len(rows), done.stderr
    return answers


def gaps(case, answer):
    for i, (at, row) in enumerate(zip(case["positions"], answer["heads"], strict=True)):
        assert row["position"] == at
        for group in GROUPS:
            for ours, reference in zip(row[group], case[group][i], strict=True):
                yield abs(ours - reference)


def rows_of(cases):
    return [{"ids": c["ids"], "positions": c["positions"]} for c in cases]


@pytest.fixture(scope="module")
def mini(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini-stream")
    subprocess.run([sys.executable, shared / "tools/make_checkpoint.py", "--shape", "mini", "--kind",
                    "stream", "--quiet", folder], check=True, timeout=300)
    return folder


@pytest.fixture(params=["tiny-stream", "mini-stream"])
def golden(request, shared):
    """(name, folder, cases)"""
    if request.param == "tiny-stream":
        folder = shared / "goldens/tiny-stream"
        cases = json.loads((folder / "goldens.json").read_text())["cases"]
    else:
        folder = request.getfixturevalue("mini")
        cases = json.loads((shared / "goldens/mini-stream.json").read_text())["cases"]
    return request.param, folder, cases


def test_float32_heads(run_qguard, golden):
    name, folder, cases = golden
    for case, answer in zip(cases, ask(run_qguard, folder, rows_of(cases), "--dtype", "float32")):
        assert max(gaps(case, answer)) <= FLOAT32[name], case["name"]


def test_bfloat16_heads(run_qguard, golden):
    _, folder, cases = golden
    answers = ask(run_qguard, folder, rows_of(cases), "--dtype", "bfloat16")
    all_gaps = [g for case, answer in zip(cases, answers) for g in gaps(case, answer)]
    assert math.sqrt(sum(g * g for g in all_gaps) / len(all_gaps)) <= BF16_RMS


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pieces_change_no_bit(run_qguard, shared, dtype):
    folder = shared / "goldens/tiny-stream"
    ids = [(5 * i * i + 11 * i) % 1024 for i in range(120)]
    row = {"ids": ids, "positions": list(range(120))}
    whole = ask(run_qguard, folder, [row], "--dtype", dtype)
    for splits in ([1] * 120, [7] * 17, [100, 1, 19], [64, 56]):
        assert ask(run_qguard, folder, [{**row, "splits": splits}], "--dtype", dtype) == whole


def test_sessions(qguard, golden, shared):
    """Token by token, in pieces, as ids and as text: the same heads, read at the right tokens."""
    name, folder, _ = golden
    file = folder / "goldens.json" if name == "tiny-stream" else shared / "goldens/mini-stream.json"
    done = subprocess.run([qguard.parent / "tests/golden/session_goldens", folder, file,
                           str(FLOAT32[name])], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stream_model_does_not_judge_whole_messages(run_qguard, shared, tmp_path):
    source = shared / "goldens/tiny-stream"
    done = run_qguard("check", "hello", "--model", source)
    assert done.returncode == 1 and done.stderr.strip()


@pytest.mark.parametrize("change,word", [
    ({"guard_inner_size": 47}, "config.json asks for"),
    ({"num_category": 7}, "category"),
    ({"num_risk_level": 0}, "num_risk_level"),
    ({"response_risk_level_map": {"0": "Safe"}}, "response_risk_level_map"),
    ({"query_risk_level_map": {"0": "Safe", "1": "Unsafe", "3": "x"}}, "query_risk_level_map"),
    ({"response_category_map": []}, "response_category_map"),
])
def test_sizes_that_disagree_are_refused(run_qguard, shared, tmp_path, change, word):
    source = shared / "goldens/tiny-stream"
    config = json.loads((source / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    (tmp_path / "model.safetensors").symlink_to(source / "model.safetensors")
    done = run_qguard("logits", "--jsonl", "--model", tmp_path, input='{"ids":[1]}\n')
    assert done.returncode == 1 and word in done.stderr, done.stderr


def test_sizes_come_from_the_shapes_when_the_file_is_silent(run_qguard, shared, tmp_path):
    source = shared / "goldens/tiny-stream"
    config = json.loads((source / "config.json").read_text())
    for key in list(config):
        if key.startswith("num_") and ("risk" in key or "category" in key) or key.endswith("_map") \
                or key == "guard_inner_size":
            del config[key]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(source / "model.safetensors")
    row = [{"ids": [1, 2, 3]}]
    assert ask(run_qguard, tmp_path, row) == ask(run_qguard, source, row)
