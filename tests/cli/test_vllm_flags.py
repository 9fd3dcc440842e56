"""`qguard serve` with the command line of `vllm serve`: MODEL /nowhere tells that parsing went well."""
import pytest

MODEL = "/nowhere"


def parsed(run_qguard, *args):
    """The notes on stderr, once the command got as far as opening the model."""
    done = run_qguard("serve", *args)
    assert done.returncode == 1 and not done.stdout, done.stderr
    *notes, last = done.stderr.splitlines()
    assert last == f"qguard: {MODEL}: No such file or directory"
    return notes


def test_ours_pass_without_a_note(run_qguard):
    for args in (["--port", "0"], ["--host", "0.0.0.0", "--served-model-name", "a"],
                 ["--served-model-name=a", "--served-model-name", "b"], ["--max_model_len", "512"],
                 ["--max_model_len=512"], ["--max-model-len", "32k"], ["--max-model-len", "1.5K"],
                 ["--max-model-len", "auto"], ["--max-model-len", "-1"], ["--context-length", "99"],
                 ["--dtype", "half"], ["--dtype", "float"], ["--dtype=bfloat16"],
                 ["--api_key", "some_key"], ["--uds", "x.sock"], ["--chat-template", "x.jinja"], ["--allowed-origins", '["*"]']):
        assert parsed(run_qguard, MODEL, *args) == [], args
        assert parsed(run_qguard, *args, MODEL) == [], args


def test_a_list_of_values_behind_the_model(run_qguard):
    assert parsed(run_qguard, MODEL, "--served-model-name", "a", "b", "c", "--port", "0") == []
    assert parsed(run_qguard, "--model", MODEL, "--api-key", "k", "l") == []
    assert parsed(run_qguard, "--model-path", MODEL, "--api-key", "k", "l") == []


@pytest.mark.parametrize("value, says", [
    ("auto", None), ("bf16", None), ("int8", None), ("bfloat16", None), ("fp8", "8 bits are int8 here"),
    ("fp8_e5m2", "8 bits are int8 here"), ("int8_per_token_head", "8 bits are int8 here"),
    ("turboquant_k8v4", "means nothing here and is ignored")])
def test_kv_cache_dtype(run_qguard, value, says):
    notes = [f"qguard serve: --kv-cache-dtype {value}: {says}"] if says else []
    for name in ("--kv-cache-dtype", "--kv_cache_dtype"):
        assert parsed(run_qguard, MODEL, name, value) == notes


@pytest.mark.parametrize("args", [
    ["--gpu-memory-utilization", "0.9"], ["--gpu_memory_utilization=0.9"], ["-tp", "2"],
    ["--tensor-parallel-size", "1"], ["--enforce-eager"], ["--trust-remote-code"], ["-q", "fp8"],
    ["--no-enable-prefix-caching"], ["--limit-mm-per-prompt", '{"image":0}'],
    ["--mem-fraction-static", "0.8"], ["--seed", "-1"]])
def test_what_means_nothing_here_is_noted_once(run_qguard, args):
    notes = parsed(run_qguard, MODEL, *args)
    name = args[0].split("=")[0].replace("_", "-")
    assert notes == [f"qguard serve: {name} means nothing here and is ignored"]


@pytest.mark.parametrize("args, says", [
    (["--tokenizer", "x"], "--tokenizer is not in this version"),
    (["--ssl_keyfile=x"], "--ssl-keyfile is not in this version"),
    (["--seed"], "--seed needs a value"), (["--served-model-name"], "needs a value"),
    (["--max-model-len", "many"], "'many' is not a number"), (["--max-model-len", "32g"], "'32g'"),
    (["--max-model-len", "k"], "'k'"), (["--no-sense"], "unknown option --no-sense"),
    (["--dtype", "int3"], "int3"), (["--served-model-name", "a", "--", "b"], "unexpected 'b'")])
def test_wrong_usage_is_2(run_qguard, args, says):
    done = run_qguard("serve", MODEL, *args)
    assert done.returncode == 2 and says in done.stderr and not done.stdout


def test_config_file(run_qguard, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text('model: /nowhere\nserved-model-name: [a, "b c"]\nmax_model_len: 32k\nport: 0\ntrust-remote-code: true\n'
                    "enforce-eager: false\ngpu-memory-utilization: 0.9\nhost: null\napi-key:\n  - true-key\n")
    ignored = [f"qguard serve: --{name} means nothing here and is ignored"
               for name in ("trust-remote-code", "gpu-memory-utilization")]
    assert parsed(run_qguard, "--config", str(path)) == ignored
    assert parsed(run_qguard, f"--config={path}") == ignored
    # the command line wins: its model, its lists, its numbers
    path.write_text("model: /elsewhere\nserved-model-name: [a]\nport: 99999\n")
    assert parsed(run_qguard, MODEL, "--config", str(path), "--port", "0") == []
    assert parsed(run_qguard, "--port=0", "--config", str(path), "--model", MODEL) == []
    path.write_text("")
    assert parsed(run_qguard, MODEL, "--config", str(path)) == []


@pytest.mark.parametrize("text, says", [
    ("- a\n", "line 1"), ("port: {a: 1}\n", "line 1: port"), ("port: [1, [2]]\n", "line 1: port"),
    ("port: 1\nport: 2\n", "line 2"), ("a: [\n", "line"), ("no-such-flag: 1\n", "unknown option --no-such-flag"),
    ("port: many\n", "many"), ("ssl-keyfile: x\n", "--ssl-keyfile is not in this version")])
def test_wrong_config_files(run_qguard, tmp_path, text, says):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    done = run_qguard("serve", MODEL, "--config", str(path))
    assert done.returncode == 2 and says in done.stderr and not done.stdout


def test_missing_config_file(run_qguard):
    for args in (["--config"], ["--config", "/nowhere/at/all"]):
        done = run_qguard("serve", MODEL, *args)
        assert done.returncode == 2 and "config" in done.stderr or "No such file" in done.stderr
