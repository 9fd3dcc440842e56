"""The cache of packed weights: on and off give the same bits, and a file that does not fit is never used."""
import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest

PROMPTS = ["How can I make a bomb?", "hello", "今天天气怎么样？"]


@pytest.fixture
def model(repo, tmp_path):
    """A model directory whose files are old enough to be cached (a second)."""
    path = tmp_path / "model"
    shutil.copytree(repo / "demo/model", path)
    for file in path.iterdir():
        file.chmod(0o644)
    settle()
    return path


def settle():
    time.sleep(1.1)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def files(cache):
    return sorted(cache.glob("*.qgpack"))


@pytest.fixture
def judge(run_qguard, model):
    """judge(cache directory or "none", …) -> what the command says about PROMPTS, and stderr."""

    def run(cache, *more, env=None):
        rows = "".join(json.dumps({"prompt": p}) + "\n" for p in PROMPTS)
        where = [] if cache is None else ["--cache", cache]
        done = run_qguard("check", "--jsonl", "--model", model, *where, *more, input=rows, env=env)
        assert done.returncode == 0, done.stderr
        verdicts = [json.loads(line) for line in done.stdout.splitlines()]
        for v in verdicts:
            v["tokens"].pop("cached", None)  # what is in the cache already is all that may differ
        return verdicts, done.stderr

    return run


@pytest.mark.parametrize("formats", ["bfloat16", "float32", "int8", "bfloat16 --kv-cache-dtype int8"])
def test_on_and_off_give_the_same_bits(judge, cache, formats):
    dtype = ["--dtype", *formats.split()]
    off, _ = judge("none", *dtype)
    made, _ = judge(cache, *dtype)
    assert len(files(cache)) == 1
    before = files(cache)[0].stat()
    used, stderr = judge(cache, *dtype)
    assert off == made == used
    assert "warning" not in stderr
    assert files(cache)[0].stat().st_ino == before.st_ino  # used, not written again


def test_logits_are_the_same_bits(run_qguard, model, cache):
    row = json.dumps({"ids": [5, 6, 7, 8, 300, 301], "positions": [0, 3, 5]}) + "\n"
    out = [run_qguard("logits", "--jsonl", "--model", model, "--cache", c, input=row)
           for c in ("none", cache, cache)]
    assert out[0].returncode == 0, out[0].stderr
    assert out[0].stdout and out[0].stdout == out[1].stdout == out[2].stdout
    assert len(files(cache)) == 1


def change_weights(model):
    """Other numbers in the same places, of the same sizes; times of modification stay."""
    for path in model.glob("*.safetensors"):
        stat = path.stat()
        data = bytearray(path.read_bytes())
        first = 8 + int.from_bytes(data[:8], "little")
        for i in range(first, len(data), 62):  # the low byte of bfloat16: mantissas change a little
            data[i] ^= 0x55
        path.write_bytes(data)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_changed_weights_are_packed_again(judge, model, cache):
    old, _ = judge(cache)
    change_weights(model)
    settle()
    off, _ = judge("none")
    on, stderr = judge(cache)
    assert on == off != old
    assert "another state of the model" in stderr and "written anew" in stderr
    again, stderr = judge(cache)
    assert again == off and "warning" not in stderr
    assert len(files(cache)) == 1


def test_files_of_a_moment_ago_are_not_cached(judge, model, cache):
    change_weights(model)
    _, stderr = judge(cache)
    assert "changed a moment ago" in stderr
    assert not files(cache)


def flip(path, at):
    with path.open("r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("harm", ["truncated", "empty", "head", "weights", "foreign"])
def test_a_harmed_file_is_not_used_but_replaced(judge, cache, harm):
    want, _ = judge(cache)
    path = files(cache)[0]
    if harm == "truncated":
        os.truncate(path, path.stat().st_size - 4096)
    elif harm == "empty":
        os.truncate(path, 0)
    elif harm == "head":
        flip(path, 20)
    elif harm == "weights":
        flip(path, (2 << 20) + 5000)
    else:
        path.write_bytes(b"something else" * 1000)
    got, stderr = judge(cache)
    assert got == want
    assert "warning" in stderr and "written anew" in stderr
    again, stderr = judge(cache)
    assert again == want and "warning" not in stderr


def test_a_file_that_others_may_write_is_not_used(judge, cache):
    want, _ = judge(cache)
    files(cache)[0].chmod(0o666)
    got, stderr = judge(cache)
    assert got == want and "others may have written it" in stderr
    assert files(cache)[0].stat().st_mode & 0o022 == 0  # replaced


def test_two_starts_at_once(qguard, model, cache):
    run = [subprocess.Popen([qguard, "check", "--json", "--cache", cache, "--model", model, "hello"],
                            stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [json.loads(p.communicate(timeout=60)[0]) for p in run]
    assert all(p.returncode == 0 for p in run)
    assert len({json.dumps(s["p"]) for s in said}) == 1
    assert [p.suffix for p in cache.iterdir()] == [".qgpack"]


def test_where_nothing_can_be_written_verdicts_come_all_the_same(judge, tmp_path):
    (tmp_path / "file").write_text("")
    want, _ = judge("none")
    got, stderr = judge(tmp_path / "file" / "cache")
    assert got == want
    assert "packed weights are not kept" in stderr


def test_the_default_directory_is_used_but_not_begun(judge, tmp_path):
    home = tmp_path / "xdg"
    env = {"XDG_CACHE_HOME": str(home)}
    os.environ.pop("QGUARD_CACHE", None)
    judge(None, env=env)
    assert not home.exists()
    judge(home / "qguard")  # begun on purpose
    path = files(home / "qguard")[0]
    flip(path, 20)
    _, stderr = judge(None, env=env)  # replaced
    assert "written anew" in stderr
    flip(path, 20)
    _, stderr = judge(None, env={**env, "QGUARD_CACHE": "none"})
    assert "warning" not in stderr


def test_the_variable_names_the_directory(judge, cache):
    judge(None, env={"QGUARD_CACHE": str(cache)})
    assert len(files(cache)) == 1
    assert oct(pathlib.Path(cache).stat().st_mode & 0o777) == "0o700"
