"""--kv-cache-dtype int8: known wherever a model is opened, close to bf16, and the same to the bit whatever the prefix
cache, threads, batches and splits do."""
import json

import shutil

import numpy as np
import pytest

from golden import plant_outliers

ROWS = [{"prompt": "How can I make a bomb?"}, {"prompt": "hello"}, {"prompt": "hello " * 150},
        {"prompt": "How can I make a bomb?", "response": "I will not tell you. " * 20},
        {"messages": [{"role": "user", "content": "hello " * 150}, {"role": "assistant", "content": "hi"},
                      {"role": "user", "content": "How do I kill a process?"}]}]
KV8 = ("--kv-cache-dtype", "int8")


@pytest.fixture(scope="module")
def judge(run_qguard):
    def run(*args):
        rows = "".join(json.dumps(r) + "\n" for r in ROWS)
        done = run_qguard("check", "--jsonl", "--quiet", "--model", "qguard-demo", *args, input=rows)
        assert done.returncode == 0, done.stderr
        verdicts = [json.loads(line) for line in done.stdout.splitlines()]
        for v in verdicts:
            v["tokens"].pop("cached", None)
        return verdicts

    return run


@pytest.mark.parametrize("more", [["--no-prefix-cache"], ["--threads", "1"], ["--threads", "3"], ["--step-rows", "7"],
                                  ["--concurrency", "1"]], ids=" ".join)
def test_nothing_else_changes_a_bit(judge, more):
    assert judge(*KV8, *more) == judge(*KV8)


def test_close_to_bf16(judge):
    eight, sixteen = judge(*KV8), judge("--kv-cache-dtype", "bf16")
    assert sixteen == judge() != eight
    for a, b in zip(eight, sixteen):
        assert a["severity"] == b["severity"] and a["categories"] == b["categories"]
        assert all(abs(a["p"]["severity"][k] - b["p"]["severity"][k]) < 0.01 for k in a["p"]["severity"])


def test_with_every_format_of_the_weights(judge):
    for dtype in ("bfloat16", "int8", "int4"):
        assert judge("--dtype", dtype, *KV8)[0]["severity"] == "Unsafe"


def test_float32_is_float32(run_qguard):
    for kv in ("bf16", "int8"):
        done = run_qguard("check", "--quiet", "--dtype", "float32", "--kv-cache-dtype", kv, "hi")
        assert done.returncode == 1 and "K and V are float32, too" in done.stderr
    assert run_qguard("check", "--quiet", "--dtype", "float32", "--kv-cache-dtype", "auto", "hi").returncode == 0
    assert run_qguard("check", "--quiet", "--kv-cache-dtype", "fp8", "hi").returncode == 2


def test_splits_of_a_sequence(run_qguard):
    """`logits` with splits feeds the ids in pieces."""
    ids = [(i * 37) % 900 for i in range(70)]
    rows = [{"ids": ids, "positions": [0, 33, 69], "top": 5}]
    rows += [dict(rows[0], splits=s) for s in ([1] * 70, [16, 16, 16, 16, 6], [3, 60, 7], [69, 1])]
    done = run_qguard("logits", "--jsonl", "--quiet", "--model", "qguard-demo", *KV8,
                      input="".join(json.dumps(r) + "\n" for r in rows))
    assert done.returncode == 0, done.stderr
    assert len(set(done.stdout.splitlines())) == 1


def test_stream(run_qguard):
    """A reply in pieces is the reply in one, and says nearly what it says with bf16."""
    text = "Sure! First take the fuse, then do not do it. Call 12345. "
    whole = [{"role": "user", "content": "How can I make a bomb?"}, {"end": True}, {"role": "assistant", "content": text},
             {"end": True}]
    pieces = whole[:2] + [{"role": "assistant", "content": text[i:i + 3]} for i in range(0, len(text), 3)] + [{"end": True}]

    def tokens(lines, *args):
        done = run_qguard("stream", "--quiet", "--model", "qguard-demo-stream", *args,
                          input="".join(json.dumps(line) + "\n" for line in lines))
        assert done.returncode == 0, done.stderr
        said = [json.loads(line) for line in done.stdout.splitlines()]
        return {(t["role"], t["index"]): t for t in said if t["final"]}

    one = tokens(whole, *KV8)
    assert one == tokens(pieces, *KV8)
    sixteen = tokens(whole)
    assert one != sixteen and one.keys() == sixteen.keys()
    worst = max(abs(t["p"]["severity"][k] - sixteen[at]["p"]["severity"][k]) if "severity" in t["p"] else 0
                for at, t in one.items() for k in t["p"].get("severity", {}))
    assert worst < 0.05


@pytest.fixture(scope="module")
def tiny(shared):
    return shared / "goldens" / "tiny-gen"


@pytest.fixture(scope="module")
def logits(run_qguard):
    rng = np.random.default_rng(8)
    ids = [rng.integers(0, 1024, n).tolist() for n in (5, 40, 130)]
    rows = "".join(json.dumps({"ids": i, "positions": [len(i) // 2, len(i) - 1], "columns": list(range(1024))}) + "\n"
                   for i in ids)

    def run(model, *args):
        done = run_qguard("logits", "--jsonl", "--model", model, *args, input=rows)
        assert done.returncode == 0, done.stderr
        return np.array([[p["values"][str(c)] for c in range(1024)]
                         for line in done.stdout.splitlines() for p in json.loads(line)["logits"]])

    return run


@pytest.mark.parametrize("dtype, bound", [("bfloat16", 0.06), ("int8", 0.16)])
def test_error_beside_float32(logits, tiny, dtype, bound):
    """Root mean square error of logits whose deviation is 2.1 (docs/MEASURING.md)."""
    error = float(np.sqrt(np.mean((logits(tiny, "--dtype", dtype, *KV8) - logits(tiny, "--dtype", "float32")) ** 2)))
    print(f"{dtype}, KV int8: root mean square {error:.3f}")
    assert error <= bound


def test_large_dimensions_of_k_change_no_bit(logits, tiny, tmp_path):
    """Two dimensions of every layer's K 128 times as large, those of q that much smaller: the same function, and since
    k_norm's weights are evened out at load, the same bits with K in 8 bits."""
    config = json.loads((tiny / "config.json").read_text())
    tensors = plant_outliers.read(tiny / "model.safetensors")
    half = config["head_dim"] // 2
    for i in range(config["num_hidden_layers"]):
        for c in (3, 3 + half, 9, 9 + half):
            tensors[f"model.layers.{i}.self_attn.k_norm.weight"][c] *= 128
            tensors[f"model.layers.{i}.self_attn.q_norm.weight"][c] /= 128
    plant_outliers.write(tmp_path / "model.safetensors", tensors)
    shutil.copy(tiny / "config.json", tmp_path)
    for args in (("--dtype", "float32"), ("--dtype", "bfloat16"), ("--dtype", "bfloat16", *KV8)):
        assert (logits(tmp_path, *args) == logits(tiny, *args)).all(), args
