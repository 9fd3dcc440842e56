"""`qguard pull` against the local hub: layouts, resumption, and everything that goes wrong."""
import json
import os
import pathlib
import stat

import pytest

from localhub import git_sha1, sha256
from tiny_repo import NEEDED, REPO, model_files, tree

HF_ROOT = ".cache/huggingface/hub/models--Qwen--Tiny-Guard-0.6B"
MS_ROOT = ".cache/modelscope/models/Qwen--Tiny-Guard-0.6B"


def good(done):
    assert done.returncode == 0, done.stderr
    return pathlib.Path(done.stdout.strip())


def bad(done, *words):
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("qguard: ")
    for word in words:
        assert word in last, last
    return last


def nothing_there(home):
    """No folder that could be taken for a model."""
    return not list(pathlib.Path(home["HOME"]).rglob("config.json"))


# ---- what it looks like afterwards ----

def test_cache_of_hugging_face(hub, pull, home):
    where = good(pull())
    files = model_files()
    root = pathlib.Path(home["HOME"]) / HF_ROOT
    assert where == root / "snapshots" / hub.commit
    assert tree(where) == {p: files[p] for p in NEEDED}
    assert (root / "refs/main").read_text() == hub.commit
    for path in NEEDED:
        lfs = path.endswith(".safetensors") or path == "tokenizer.json"
        etag = (sha256 if lfs else git_sha1)(files[path])
        assert os.readlink(where / path) == f"../../blobs/{etag}"
    assert {p.name for p in (root / "blobs").iterdir()} == {os.path.basename(os.readlink(where / p)) for p in NEEDED}
    listed = json.loads((root / f"trees/{hub.commit}.json").read_text())
    assert listed["format_version"] == 1 and set(listed["files"]) == set(files)


def test_cache_of_modelscope(hub, pull, home):
    where = good(pull("--hub", "modelscope"))
    assert where == pathlib.Path(home["HOME"]) / MS_ROOT / "snapshots/master"
    assert tree(where) == {p: model_files()[p] for p in NEEDED}
    assert not any(p.is_symlink() for p in where.rglob("*"))
    assert good(pull(env={"VLLM_USE_MODELSCOPE": "True"})) == where


@pytest.mark.parametrize("which", ["hf", "modelscope"])
def test_into_a_folder(hub, pull, tmp_path, which):
    where = good(pull("--hub", which, "--dir", tmp_path / "m"))
    assert where == tmp_path / "m"
    assert {p: b for p, b in tree(where).items() if not p.startswith(".")} == {p: model_files()[p] for p in NEEDED}
    said = (where / ".cache/huggingface/download/config.json.metadata")
    assert said.exists() == (which == "hf")
    if which == "hf":
        assert said.read_text().splitlines()[:2] == [hub.commit, git_sha1(model_files()["config.json"])]


def test_include(hub, pull):
    where = good(pull("--include", "*.txt", "--include", "config.json"))
    assert set(tree(where)) == {"config.json", "extra/notes.txt"}
    assert os.readlink(where / "extra/notes.txt").startswith("../../../blobs/")
    bad(pull("--include", "*.gguf"), "--include matches none of its 12 files")


def test_permissions_are_the_usual_ones(hub, pull, home):
    where = good(pull())
    probe = pathlib.Path(home["HOME"]) / "probe"
    probe.touch()
    assert stat.S_IMODE((where / "config.json").stat().st_mode) == stat.S_IMODE(probe.stat().st_mode)


def test_without_symlinks(hub, pull, home):
    where = good(pull(env={"HF_HUB_DISABLE_SYMLINKS": "1"}))
    assert not any(p.is_symlink() for p in where.rglob("*"))
    assert tree(where) == {p: model_files()[p] for p in NEEDED}
    hub.log.clear()
    good(pull(env={"HF_HUB_DISABLE_SYMLINKS": "1"}))
    assert not hub.requests("/resolve/")


def test_again_fetches_nothing(hub, pull):
    first = good(pull())
    hub.log.clear()
    assert good(pull()) == first
    assert not hub.requests("/resolve/") and not hub.requests("/cdn/")


def test_a_new_commit_shares_what_is_the_same(hub, pull, home):
    old = good(pull())
    commit = hub.add(REPO, {**model_files(), "config.json": b'{"model_type":"qwen3", "new":1}'})
    hub.log.clear()
    new = good(pull())
    assert new.name == commit and old.exists()
    assert [r[1] for r in hub.requests("/resolve/")] == [f"/{REPO}/resolve/{commit}/config.json"]
    assert good(pull("--revision", hub.commit)) == old


def test_a_damaged_blob_is_found_and_fetched_anew(hub, pull):
    where = good(pull())
    blob = (where / "model-00001-of-00002.safetensors").resolve()
    data = bytearray(blob.read_bytes())
    data[12345] ^= 1
    blob.write_bytes(data)
    assert tree(good(pull())) == {p: model_files()[p] for p in NEEDED}


def test_modelscope_replaces_files_of_a_branch_that_moved(hub, pull):
    where = good(pull("--hub", "modelscope"))
    hub.add(REPO, {**model_files(), "config.json": b"{}"})
    assert good(pull("--hub", "modelscope")) == where
    assert (where / "config.json").read_bytes() == b"{}"


def test_pages_of_the_list(hub, pull):
    hub.fault(page=3)
    assert set(tree(good(pull()))) == set(NEEDED)
    assert len(hub.requests("/tree/")) == 5    # 12 files and 2 folders


def test_ranges_are_asked_for_in_parallel(hub, pull):
    good(pull())
    asked = [r[2]["Range"] for r in hub.requests("/cdn/") if "00001" in r[1]]
    assert len(asked) == 3 and len(set(asked)) == 3    # 9 MiB in parts of 4


# ---- going on ----

def test_a_body_that_breaks_off_is_gone_on_with(hub, pull):
    hub.fault(truncate=1 << 20)
    assert set(tree(good(pull()))) == set(NEEDED)
    starts = [r[2]["Range"] for r in hub.requests("/cdn/") if "00001" in r[1]]
    assert f"bytes={1 << 20}-{(4 << 20) - 1}" in starts


def test_a_server_without_ranges(hub, pull):
    hub.fault(no_ranges=True)
    assert tree(good(pull())) == {p: model_files()[p] for p in NEEDED}


def test_a_server_without_ranges_that_breaks_off(hub, pull):
    hub.fault(no_ranges=True, truncate=3 << 20, truncate_times=2)
    assert tree(good(pull())) == {p: model_files()[p] for p in NEEDED}


def test_a_server_without_lengths(hub, pull):
    hub.fault(no_length=True)
    assert tree(good(pull())) == {p: model_files()[p] for p in NEEDED}


def test_lapsed_signatures_are_asked_for_again(hub, pull):
    hub.fault(cdn_403_times=2)
    assert set(tree(good(pull()))) == set(NEEDED)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_hub_is_waited_for(hub, pull, status):
    hub.fault(status=status, status_times=2, status_on="resolve|revision", retry_after=0)
    assert set(tree(good(pull()))) == set(NEEDED)


def test_retry_after_is_obeyed_and_told(hub, pull):
    hub.fault(status=429, status_times=1, status_on="revision", retry_after=1)
    done = pull()
    good(done)
    assert "the hub answers 429; trying again in 1 s" in done.stderr


def test_a_lie_that_is_told_once_is_forgiven(hub, pull):
    hub.fault(lie=True, lie_times=1)
    assert tree(good(pull())) == {p: model_files()[p] for p in NEEDED}


# ---- going wrong ----

def test_a_hub_that_asks_for_too_long(hub, pull, home):
    hub.fault(status=429, status_times=99, retry_after=3600)
    bad(pull(), "429", "try again later")
    assert len(hub.log) == 1


def test_a_hub_that_stays_broken(hub, pull, home):
    hub.fault(status=502, status_times=99, status_on="/tree/", retry_after=0)
    bad(pull(), "the list of files: the hub answers 502")
    assert len(hub.requests("/tree/")) == 6 and nothing_there(home)


@pytest.mark.parametrize("which", ["hf", "modelscope"])
def test_wrong_bytes_are_never_a_model(hub, pull, home, which):
    hub.fault(lie=True)
    bad(pull("--hub", which), "have the hash", "expected")
    assert nothing_there(home)
    hub.fault()
    good(pull("--hub", which))


def test_another_commit_in_between(hub, pull, home):
    hub.fault(other_commit=True)
    bad(pull(), "of another commit")
    assert nothing_there(home)


def test_modelscope_changes_in_between(hub, pull):
    new = {**model_files(), "tokenizer_config.json": b'{"chat_template":"y"}\n', "config.json": b"{}"}
    hub.fault(moved=new)
    done = pull("--hub", "modelscope")
    assert tree(good(done)) == {p: new[p] for p in NEEDED}
    assert "the revision has changed meanwhile" in done.stderr


def test_another_range_than_asked(hub, pull, home):
    hub.fault(wrong_range=True)
    bad(pull(), "another range")
    assert nothing_there(home)


def test_no_such_repository(hub, pull):
    bad(pull(repo="Qwen/None"), "Qwen/None: no such repository, or it is private (401)", "HF_TOKEN")
    bad(pull("--hub", "modelscope", repo="Qwen/None"), "the model is not there")
    assert pull(repo="None").returncode == 1 and "is no repository" in pull(repo="None").stderr
    assert pull(repo="../x").returncode == 1


def test_no_such_revision(hub, pull):
    bad(pull("--revision", "v9"), "no revision 'v9'")
    bad(pull("--revision", "0" * 40), "no revision '000")
    bad(pull("--hub", "modelscope", "--revision", "v9"), "no revision 'v9'; there are: main, master")
    bad(pull("--revision", "../../etc"), "is no revision")


def test_private(hub, pull, tmp_path):
    hub.private[REPO] = "good"
    bad(pull(), "private")
    bad(pull(env={"HF_TOKEN": "wrong"}), "refuses the token")
    (tmp_path / "t").write_text("good\n")
    good(pull(env={"HF_TOKEN_PATH": str(tmp_path / "t")}))
    assert all("Authorization" not in r[2] for r in hub.requests("/cdn/"))
    bad(pull(env={"HF_TOKEN": "good", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}), "private")
    (tmp_path / ".cache/huggingface/token").write_text("good")
    good(pull())
    bad(pull("--hub", "modelscope"), "not for you")
    good(pull("--hub", "modelscope", env={"MODELSCOPE_API_TOKEN": "good"}))


def test_a_token_with_a_line_break_goes_nowhere(hub, pull):
    good(pull(env={"HF_TOKEN": "a\r\nX-Evil: 1"}))
    assert all("Authorization" not in r[2] and "X-Evil" not in r[2] for r in hub.log)


def test_gated(hub, pull, home):
    hub.gated.add(REPO)
    bad(pull(), "is gated (403)", "HF_TOKEN")
    assert nothing_there(home)
    good(pull(env={"HF_TOKEN": "good"}))


def test_a_redirect_to_nowhere_good(hub, pull, home):
    hub.fault(redirect_to="file:///etc")
    bad(pull())
    hub.fault(redirect_to="ftp://localhost")
    bad(pull())
    assert nothing_there(home)


def test_the_next_page_stays_on_the_hub(hub, pull):
    hub.fault(page=3, page_host="http://localhost:1")
    bad(pull(), "another host: refused")


@pytest.mark.parametrize("path", [
    "/etc/passwd", "../../evil", "a/../../evil", "a//b", "./a", "a\\..\\b", "x\0y", "a\nb", "",
    ".git/config", "a/.git/hooks/x", ".cache/x", "x/.qguard/y", "n" * 300, "d/" * 300 + "x"])
def test_hostile_file_names(hub, pull, home, tmp_path, path):
    entry = {"type": "file", "path": path, "size": 5, "oid": "0" * 40}
    hub.fault(extra_entries=[entry])
    bad(pull("--include", "*"), "refused")
    hub.fault(extra_entries=[{"Name": "x", "Path": path, "Type": "blob", "Size": 5, "Sha256": "0" * 64}])
    bad(pull("--include", "*", "--hub", "modelscope"), "refused")
    assert nothing_there(home)


@pytest.mark.parametrize("entry", [
    {"type": "file"}, {"type": "file", "path": "x"}, {"type": "file", "path": "x", "size": -1, "oid": "0" * 40},
    {"type": "file", "path": "x", "size": 1 << 60, "oid": "0" * 40}, {"type": "file", "path": "x", "size": 1, "oid": "zz"},
    {"type": "file", "path": "config.json", "size": 1, "oid": "0" * 40}, 7, None,
    {"type": "file", "path": "x", "size": 1, "oid": "0" * 40, "lfs": {"oid": "0" * 40, "size": 1}}])
def test_lists_that_are_none(hub, pull, home, entry):
    hub.fault(extra_entries=[entry])
    bad(pull())
    assert nothing_there(home)


def test_a_file_without_a_hash(hub, pull, home):
    hub.fault(extra_entries=[{"Name": "x", "Path": "x.safetensors", "Type": "blob", "Size": 5, "Sha256": ""}])
    bad(pull("--hub", "modelscope"), "tells no hash")
    assert nothing_there(home)


def test_a_planted_link_is_not_written_through(hub, pull, home, tmp_path):
    blobs = pathlib.Path(home["HOME"]) / HF_ROOT / "blobs"
    blobs.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    name = sha256(model_files()["model-00001-of-00002.safetensors"])
    (blobs / f"{name}.qguard.incomplete").symlink_to(victim)
    bad(pull(), ".incomplete")
    assert victim.read_text() == "mine"


def test_a_repository_without_a_model(hub, pull):
    hub.add("Qwen/Bin", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    bad(pull(repo="Qwen/Bin"), "Qwen/Bin: no *.safetensors", "PyTorch")
    hub.add("Qwen/GGUF", {"a.Q8_0.gguf": b"GGUF"})
    bad(pull(repo="Qwen/GGUF"), "--include")
    where = good(pull("--include", "*Q8_0.gguf", repo="Qwen/GGUF"))
    assert set(tree(where)) == {"a.Q8_0.gguf"}


def test_nobody_there(hub, pull, home):
    hub.close()
    done = pull(timeout=100)
    bad(done, "the revision")
    assert nothing_there(home)


def test_offline(hub, pull):
    bad(pull(env={"HF_HUB_OFFLINE": "1"}), "HF_HUB_OFFLINE")
    assert not hub.log


def test_usage(pull, qguard, run_qguard):
    assert run_qguard("pull").returncode == 2
    assert run_qguard("pull", "a/b", "--hub", "x").returncode == 2
    assert "HF_ENDPOINT" in run_qguard("pull", "--help").stdout
