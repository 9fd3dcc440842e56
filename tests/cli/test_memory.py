"""--memory: what is chosen fits, is said, and is refused where nothing would; inspect's prediction."""
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest


def peak(qguard, *args):
    """Peak resident bytes of a command."""
    code = ("import resource,subprocess,sys;"
            "p=subprocess.run(sys.argv[1:],capture_output=True);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, p.returncode)")
    done = subprocess.run([sys.executable, "-c", code, str(qguard), *map(str, args)],
                          capture_output=True, text=True, timeout=300)
    kib, status = done.stdout.split()
    assert status == "0", done.stderr
    return int(kib) * 1024


# Of about 371 tokens with Qwen3's tokenizer and template, as the prediction says
PROMPT = ("Write a short story about a robot that learns to paint. " * 14).strip()
FORMATS = [("float32", "auto"), ("bfloat16", "bf16"), ("int8", "bf16"), ("int4", "bf16"), ("bfloat16", "int8"),
           ("int8", "int8"), ("int4", "int8")]


def compare(qguard, run_qguard, model, dtype, kv, within):
    program = pathlib.Path(qguard).read_bytes()
    if b"__asan_init" in program or b"__tsan_init" in program:
        pytest.skip("a build with sanitizers takes more memory by design")
    memory = json.loads(run_qguard("inspect", "--json", model).stdout)["memory"]
    told = memory["resident_bytes_int8_kv" if kv == "int8" else "resident_bytes"][dtype]
    prompt = PROMPT if model != "qguard-demo" else "How can I make a bomb?"
    got = peak(qguard, "check", "--quiet", "--cache", "none", "--model", model, "--dtype", dtype,
               "--kv-cache-dtype", kv, prompt)
    print(f"{dtype}, KV {kv}: {told / 2**20:.0f} MiB predicted, {got / 2**20:.0f} found")
    assert abs(told - got) / got < within, (told, got)


@pytest.mark.parametrize("dtype, kv", FORMATS)
def test_inspect_predicts_resident_memory_of_the_toy(qguard, run_qguard, dtype, kv):
    """Its weights are a third of it: libraries and allocator weigh as much."""
    compare(qguard, run_qguard, "qguard-demo", dtype, kv, 1 / 6)


@pytest.fixture(scope="module")
def mini(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("mini")
    subprocess.run([sys.executable, shared / "tools/make_checkpoint.py", "--shape", "mini", "--kind", "gen", "--quiet",
                    path], check=True, timeout=300)
    return path


@pytest.mark.parametrize("dtype, kv", FORMATS)
def test_inspect_predicts_resident_memory_within_5_percent(qguard, run_qguard, mini, dtype, kv):
    compare(qguard, run_qguard, mini, dtype, kv, 0.05)


@pytest.mark.parametrize("dtype, kv", FORMATS)
def test_and_of_a_large_model(qguard, run_qguard, dtype, kv):
    model = os.environ.get("QGUARD_LARGE_MODEL")
    if not model:
        pytest.skip("QGUARD_LARGE_MODEL does not name a directory (a checkpoint of the 0.6B shape or larger)")
    compare(qguard, run_qguard, model, dtype, kv, 0.05)


@pytest.mark.parametrize("memory, dtype", [("1G", "bfloat16"), ("900M", "bfloat16"), ("0.1G", "bfloat16")])
def test_the_toy_fits(run_qguard, memory, dtype):
    done = run_qguard("check", "--model", "qguard-demo", "--memory", memory, "hi")
    assert done.returncode == 0 and f"--memory {memory}: {dtype}" in done.stderr, done.stderr


def test_what_is_given_is_kept(run_qguard):
    done = run_qguard("check", "--model", "qguard-demo", "--memory", "1G", "--dtype", "int8",
                      "--max-model-len", 2048, "--kv-cache-mib", 64, "hi")
    assert "int8" in done.stderr and "KV 64 MiB" in done.stderr and "2048 tokens" in done.stderr


@pytest.mark.parametrize("memory", ["G", "6", "6T", "-1G", "0M", "6GB", "nanG"])
def test_no_size(run_qguard, memory):
    done = run_qguard("check", "--model", "qguard-demo", f"--memory={memory}", "hi")
    assert done.returncode == 2 and "--memory" in done.stderr


def test_too_little(run_qguard):
    done = run_qguard("check", "--model", "qguard-demo", "--memory", "20M", "hi")
    assert done.returncode == 1 and "are too few" in done.stderr


def chosen(run_qguard, *args):
    """(dtype, KV's dtype, context) as --memory says on stderr; None where nothing fits."""
    done = run_qguard("check", "--model", "qguard-demo", *args, "hi")
    if done.returncode:
        assert "are too few" in done.stderr
        return None
    dtype, kv, context = re.search(r"--memory \S+: (\w+), .* KV \d+ MiB in (\w+), context of (\d+)", done.stderr).groups()
    return dtype, kv, int(context)


def test_less_memory_first_takes_precision_then_context(run_qguard):
    """KV to 8 bits, then the next format of the weights, then less context; each step is one down."""
    order = [("bfloat16", "bf16"), ("bfloat16", "int8"), ("int8", "bf16"), ("int8", "int8"), ("int4", "bf16"), ("int4", "int8")]
    seen = []
    for mib in range(62, 20, -2):
        found = chosen(run_qguard, "--memory", f"{mib}M")
        if not found:
            break
        seen.append((order.index(found[:2]), -found[2]))
    assert seen == sorted(seen) and seen[0][0] == 0 and seen[-1][0] == 5 and (1, seen[0][1]) in seen, seen


def test_what_is_given_of_kv_is_kept(run_qguard):
    assert chosen(run_qguard, "--memory", "1G", "--kv-cache-dtype", "int8")[:2] == ("bfloat16", "int8")
    assert chosen(run_qguard, "--memory", "1G", "--dtype", "float32")[:2] == ("float32", "float32")
