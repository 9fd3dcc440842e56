"""Hundreds of malformed model directories at the command's door: a status and a sentence, never a crash."""
import concurrent.futures
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from make_malformed import make  # noqa: E402

ROW = '{"ids":[1,2,3],"positions":"last","top":3}\n'


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    out = tmp_path_factory.mktemp("malformed") / "models"
    yield out, make(out)
    shutil.rmtree(out)


def run(qguard, args, text=""):
    return subprocess.run([str(qguard), *args], input=text.encode(), capture_output=True, timeout=60)


def complaint(done, expect):
    """What is wrong with how the command ended; None when nothing is."""
    err = done.stderr.decode("utf-8", "backslashreplace")
    if done.returncode not in (0, 1) or "Sanitizer" in err or "runtime error" in err:
        return f"status {done.returncode}: {err[-2000:]}"
    if expect != "either" and done.returncode != (expect == "refuse"):
        return f"status {done.returncode}, should {expect}: {err}"
    if done.returncode == 1:
        # an answer to a row carries its own error; everything else speaks on standard error
        lines = err.strip().split("\n") if err else [done.stdout.decode().strip()]
        if len(lines[-1]) < 20 or len(lines) > 3 or any(ord(c) < 32 for c in lines[-1]):
            return f"no sentence: {err!r}"
    return None


def check_all(qguard, models, command, text):
    """command(path) -> arguments and input; text: what must come of directories with bad text files."""
    out, cases = models
    assert len(cases) > 200

    def one(case):
        name, expect = case
        args, rows = command(str(out / name))
        wrong = complaint(run(qguard, args, rows), text if expect == "text" else expect)
        return f"{name}: {wrong}" if wrong else None

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        bad = [b for b in pool.map(one, cases.items()) if b]
    assert not bad, "\n".join(bad[:20])


def test_inspect(qguard, models):
    check_all(qguard, models, lambda path: (["inspect", "--json", path], ""), "refuse")


def test_logits(qguard, models):
    check_all(qguard, models, lambda path: (["logits", "--model", path, "--jsonl"], ROW), "accept")


def test_the_same_seed_makes_the_same_bytes(models, tmp_path):
    out, cases = models
    again = make(tmp_path / "again")
    assert again == cases
    for name in list(cases)[::9]:
        for file in (out / name).iterdir():
            if file.is_file():
                assert file.read_bytes() == (tmp_path / "again" / name / file.name).read_bytes()
