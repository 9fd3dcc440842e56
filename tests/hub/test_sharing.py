"""The caches are the Python tools' own: what either side fetched, the other finds, and the tools
download from the local hub as from the real ones (so it is a fair stand-in)."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

from tiny_repo import NEEDED, REPO, model_files, tree

HF = """
import sys, json
from huggingface_hub import snapshot_download, hf_hub_download, scan_cache_dir
options = json.loads(sys.argv[2])
print(snapshot_download(sys.argv[1], **options))
print(scan_cache_dir().repos and not scan_cache_dir().warnings)
"""
MS = """
import sys, json
from modelscope import snapshot_download
print(snapshot_download(sys.argv[1], **json.loads(sys.argv[2])))
"""


def python(code, home, repo=REPO, env=None, **options):
    done = subprocess.run([sys.executable, "-c", code, repo, json.dumps(options)], capture_output=True,
                          encoding="utf-8", timeout=120, env={**home, **(env or {})})
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("/")]
    return pathlib.Path(lines[-1])


def hf(home, **options):
    pytest.importorskip("huggingface_hub")
    return python(HF, home, **options)


def ms(home, **options):
    pytest.importorskip("modelscope")
    return python(MS, home, **options)


def good(done):
    assert done.returncode == 0, done.stderr
    return pathlib.Path(done.stdout.strip())


def visible(files):
    """Without names that begin with a dot (the SDK's own, and .gitattributes)."""
    files = files if isinstance(files, dict) else tree(files)
    return {p: b for p, b in files.items() if not p.startswith(".")}


def bodies(hub):
    return hub.requests("/resolve/") + hub.requests("/cdn/") + hub.requests("FilePath")


def test_ours_is_found_by_huggingface_hub(hub, pull, home):
    where = good(pull())
    hub.log.clear()
    assert hf(home, allow_patterns=NEEDED) == where and not bodies(hub)
    # offline it asks the list that we left whether the snapshot is complete
    assert hf(home, allow_patterns=NEEDED, env={"HF_HUB_OFFLINE": "1"}) == where
    assert set(tree(hf(home))) == set(model_files())     # and adds the rest
    assert not any(REPO in r[1] and r[1].endswith("config.json") for r in bodies(hub) if "/resolve/" in r[1]
                   and "generation" not in r[1])


def test_huggingface_hub_s_is_found_by_us(hub, pull, home, qguard):
    where = hf(home)
    assert tree(where) == model_files()
    hub.log.clear()
    assert good(pull()) == where and not bodies(hub)
    offline = subprocess.run([str(qguard), "inspect", REPO], capture_output=True, encoding="utf-8", timeout=30,
                             env={**home, "HF_HUB_OFFLINE": "1"})
    assert "in no hub's cache" not in offline.stderr


def test_part_of_huggingface_hub_s_is_completed_by_us(hub, pull, home, qguard):
    where = hf(home, allow_patterns=["*.json"])
    offline = subprocess.run([str(qguard), "inspect", REPO], capture_output=True, encoding="utf-8", timeout=30,
                             env={**home, "HF_HUB_OFFLINE": "1"})
    assert "in no hub's cache" in offline.stderr        # json files alone are no model
    hub.log.clear()
    assert good(pull()) == where
    assert {r[1].rsplit("/", 1)[1].split("?")[0] for r in bodies(hub)} == {
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}


def test_revisions_of_both(hub, pull, home):
    hub.add(REPO, {**model_files(), "config.json": b'{"v":2}'}, revision="v2")
    assert good(pull("--revision", "v2")) == hf(home, revision="v2", allow_patterns=NEEDED)
    assert hf(home, allow_patterns=NEEDED) == good(pull())


def test_a_folder_of_the_user_s(hub, pull, home, tmp_path):
    good(pull("--dir", tmp_path / "d"))
    hub.log.clear()
    hf(home, local_dir=str(tmp_path / "d"), allow_patterns=NEEDED)
    assert not bodies(hub)
    hf(home, local_dir=str(tmp_path / "e"))
    hub.log.clear()
    good(pull("--dir", tmp_path / "e"))
    assert not bodies(hub)


def test_one_wrong_byte(hub, pull, home):
    """huggingface_hub compares sizes; we compare hashes."""
    where = hf(home)
    blob = (where / "model-00002-of-00002.safetensors").resolve()
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + b"\xff")
    assert hf(home) == where and tree(where) != model_files()
    good(pull())
    assert tree(where) == model_files()


def test_side_by_side_with_huggingface_hub(hub, home, qguard):
    pytest.importorskip("huggingface_hub")
    hub.fault(rate=16 << 20)
    ours = subprocess.Popen([str(qguard), "pull", REPO], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            encoding="utf-8", env=home)
    where = hf(home)
    out, err = ours.communicate(timeout=60)
    assert ours.returncode == 0 and pathlib.Path(out.strip()) == where, err
    assert tree(where) == model_files()


@pytest.mark.heavy
def test_ours_is_found_by_modelscope(hub, pull, home):
    where = good(pull("--hub", "modelscope"))
    hub.log.clear()
    assert ms(home, allow_patterns=NEEDED) == where and not bodies(hub)
    assert ms(home, local_files_only=True) == where
    assert visible(ms(home)) == visible(model_files())


@pytest.mark.heavy
def test_modelscope_s_is_found_by_us(hub, pull, home, qguard):
    where = ms(home)
    hub.log.clear()
    assert good(pull("--hub", "modelscope")) == where and not bodies(hub)
    offline = subprocess.run([str(qguard), "inspect", REPO], capture_output=True, encoding="utf-8", timeout=30,
                             env={**home, "HF_HUB_OFFLINE": "1"})
    assert "in no hub's cache" not in offline.stderr


@pytest.mark.heavy
def test_modelscope_with_a_token(hub, pull, home, tmp_path):
    hub.private[REPO] = "ms-good-token"
    pytest.importorskip("modelscope")
    python("from modelscope_hub.config import HubConfig\nHubConfig().save_token('ms-good-token')\nprint('/')", home)
    assert set(NEEDED) <= set(tree(good(pull("--hub", "modelscope"))))    # from the SDK's own cookies
    assert os.path.isdir(tmp_path / ".modelscope/credentials")


@pytest.mark.heavy
def test_side_by_side_with_modelscope(hub, home, qguard):
    pytest.importorskip("modelscope")
    hub.fault(rate=16 << 20)
    ours = subprocess.Popen([str(qguard), "pull", REPO, "--hub", "modelscope"], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, encoding="utf-8", env=home)
    where = ms(home)
    out, err = ours.communicate(timeout=60)
    assert ours.returncode == 0 and pathlib.Path(out.strip()) == where, err
    assert visible(where) == visible(model_files())
