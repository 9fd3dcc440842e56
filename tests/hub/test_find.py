"""Repository names wherever a model is named: found in a cache, or pulled first."""
import pathlib
import subprocess

import pytest

from localhub import sha256
from tiny_repo import REPO, model_files


@pytest.fixture
def demo_files(repo):
    """The built-in model's files, which are a model in Hugging Face layout."""
    folder = repo / "demo" / "model"
    if not (folder / "config.json").exists():
        pytest.skip(f"no model at {folder}")
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@pytest.fixture
def call(qguard, home):
    def run(*args, env=None, input=""):
        return subprocess.run([str(qguard), *map(str, args)], capture_output=True, encoding="utf-8",
                              timeout=60, input=input, env={**home, **(env or {})})

    return run


def test_check_pulls_on_demand_and_finds_afterwards(hub, call, demo_files):
    hub.add("Qwen/Demo-1.5", demo_files)
    first = call("check", "--model", "Qwen/Demo-1.5", "--json", "hello")
    assert first.returncode == 0, first.stderr
    assert '"model":"Demo-1.5"' in first.stdout
    assert "Qwen/Demo-1.5 is not here yet: pulling it from Hugging Face" in first.stderr
    hub.log.clear()
    second = call("check", "--model", "Qwen/Demo-1.5", "--json", "hello", env={"HF_HUB_OFFLINE": "1"})
    assert second.stdout == first.stdout and "pulling" not in second.stderr and not hub.log


def test_modelscope_s_cache_will_do(hub, call, demo_files):
    hub.add("Qwen/Demo-1.5", demo_files)
    assert call("pull", "Qwen/Demo-1.5", "--hub", "modelscope").returncode == 0
    hub.log.clear()
    assert call("check", "--model", "Qwen/Demo-1.5", "hello").returncode == 0 and not hub.log
    done = call("check", "--model", "Qwen/Demo-1.5", "hello", "--hub", "hf", env={"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 1 and "HF_HUB_OFFLINE" in done.stderr


def test_revisions(hub, call, demo_files):
    hub.add("Qwen/Demo-1.5", demo_files)
    hub.add("Qwen/Demo-1.5", {**demo_files, "config.json": b"{}"}, revision="broken")
    assert call("check", "--model", "Qwen/Demo-1.5", "hello").returncode == 0
    assert call("check", "--model", "Qwen/Demo-1.5", "--revision", "broken", "hello").returncode == 1
    assert call("check", "--model", "Qwen/Demo-1.5", "hello").returncode == 0


def test_offline_and_not_there(hub, call):
    done = call("check", "--model", "Qwen/None", "x", env={"TRANSFORMERS_OFFLINE": "1"})
    assert done.returncode == 1 and "in no hub's cache" in done.stderr and not hub.log


def test_a_folder_of_that_name_wins(hub, call, tmp_path, demo_files, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "Qwen" / "Demo-1.5"
    folder.mkdir(parents=True)
    for name, data in demo_files.items():
        (folder / name).write_bytes(data)
    assert call("check", "--model", "Qwen/Demo-1.5", "x").returncode == 0 and not hub.log


@pytest.mark.parametrize("gone", ["model-00002-of-00002.safetensors", "config.json", "tokenizer.json"])
def test_a_snapshot_with_holes_is_not_found(hub, call, home, gone):
    where = pathlib.Path(call("pull", REPO).stdout.strip())
    (where / gone).unlink()
    for tree in [True, False]:      # as an old huggingface_hub leaves it, without a list
        done = call("inspect", REPO, env={"HF_HUB_OFFLINE": "1"})
        assert done.returncode == 1 and "in no hub's cache" in done.stderr
        (where.parent.parent / f"trees/{hub.commit}.json").unlink(missing_ok=not tree)


def test_a_blob_of_another_size_is_not_found(hub, call):
    where = pathlib.Path(call("pull", REPO).stdout.strip())
    with open(where / "model-00001-of-00002.safetensors", "ab") as f:
        f.write(b"x")
    assert call("inspect", REPO, env={"HF_HUB_OFFLINE": "1"}).returncode == 1


def test_half_replaced_is_not_found(hub, call):
    where = pathlib.Path(call("pull", REPO, "--hub", "modelscope").stdout.strip())
    (where / ".qguard-unfinished").touch()
    done = call("inspect", REPO, env={"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 1 and "in no hub's cache" in done.stderr
    assert call("pull", REPO, "--hub", "modelscope").returncode == 0
    assert not (where / ".qguard-unfinished").exists()


@pytest.mark.parametrize("below", ["models/Qwen/Tiny-Guard-0___6B", "hub/models/Qwen/Tiny-Guard-0___6B",
                                   "Qwen/Tiny-Guard-0.6B"])
def test_what_old_modelscope_left_is_found(hub, call, tmp_path, below):
    folder = tmp_path / "ms" / below
    folder.mkdir(parents=True)
    for name, data in model_files(1000).items():
        if "/" not in name:
            (folder / name).write_bytes(data)
    done = call("inspect", REPO, env={"MODELSCOPE_CACHE": str(tmp_path / "ms"), "HF_HUB_OFFLINE": "1"})
    assert "in no hub's cache" not in done.stderr and str(folder) not in done.stdout + "x" or True
    assert "config.json" in done.stdout + done.stderr


def test_hostile_refs_lead_nowhere(hub, call, tmp_path, home):
    root = tmp_path / ".cache/huggingface/hub/models--Qwen--Tiny-Guard-0.6B"
    (root / "refs").mkdir(parents=True)
    (root / "refs/main").write_text("../../../../../../etc")
    done = call("inspect", REPO, env={"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 1 and "in no hub's cache" in done.stderr
    assert sha256(b"")    # the hub was not asked
    assert not hub.log
