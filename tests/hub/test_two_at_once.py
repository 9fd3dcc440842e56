"""Pulls side by side, and pulls that are killed."""
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest

from tiny_repo import NEEDED, REPO, model_files, tree

KILLS = int(os.environ.get("QGUARD_KILLS", "12"))


def start(qguard, home, *args):
    return subprocess.Popen([str(qguard), "pull", REPO, *args], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, encoding="utf-8", env=home)


def whole(folder):
    return tree(folder) == {p: model_files()[p] for p in NEEDED}


def test_two_at_once_fetch_once(hub, qguard, home):
    hub.fault(rate=4 << 20)
    both = [start(qguard, home) for _ in range(2)]
    ends = [p.communicate(timeout=60) for p in both]
    assert [p.returncode for p in both] == [0, 0], ends
    assert ends[0][0] == ends[1][0] and whole(ends[0][0].strip())
    assert len(hub.requests("/cdn/")) == 5    # three parts, a small shard, the tokenizer
    assert any("waiting for another process" in e[1] for e in ends)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_gone_on_with(hub, qguard, home, number):
    hub.fault(rate=1 << 20)
    one = start(qguard, home, "--connections", "1")
    time.sleep(1)
    one.send_signal(number)
    out, err = one.communicate(timeout=10)
    assert one.returncode == (130 if number == signal.SIGINT else -number) and not out
    assert number != signal.SIGINT or "the same command goes on" in err
    assert not list(pathlib.Path(home["HOME"]).rglob("config.json"))
    hub.fault()
    hub.log.clear()
    two = start(qguard, home)
    assert whole(two.communicate(timeout=30)[0].strip())
    starts = [r[2].get("Range", "bytes=0-").split("=")[1].split("-")[0] for r in hub.requests("/cdn/")]
    assert any(int(s) % (4 << 20) for s in starts), starts    # in the middle of a part


@pytest.mark.timeout(900)
@pytest.mark.parametrize("which", ["hf", "modelscope"])
def test_killed_at_random_moments(hub, qguard, home, which):
    """However often it is killed: never a model that is none, and in the end the whole one.  The
    hub breaks off and is slow meanwhile.  QGUARD_KILLS=100 is the long form."""
    chance = random.Random(7)
    hub.fault(rate=24 << 20, truncate=3 << 20)
    kills = 0
    for _ in range(KILLS):
        one = start(qguard, home, "--hub", which)
        time.sleep(chance.uniform(0, 0.35))
        one.kill()
        out = one.communicate()[0]
        kills += one.returncode == -signal.SIGKILL
        for found in pathlib.Path(home["HOME"]).rglob("config.json"):
            assert whole_by_our_own_word(qguard, home, which) == whole(found.parent), found
        if one.returncode == 0:     # it was faster: begin anew
            assert whole(out.strip())
            subprocess.run(["rm", "-rf", f"{home['HOME']}/.cache"], check=True)
    assert kills > KILLS // 2
    hub.fault()
    last = start(qguard, home, "--hub", which)
    out, err = last.communicate(timeout=60)
    assert last.returncode == 0 and whole(out.strip()), err
    assert not list(pathlib.Path(home["HOME"]).rglob("*.incomplete"))


def whole_by_our_own_word(qguard, home, which):
    done = subprocess.run([str(qguard), "inspect", REPO, "--hub", which], capture_output=True, encoding="utf-8",
                          env={**home, "HF_HUB_OFFLINE": "1"}, timeout=20)
    return "in no hub's cache" not in done.stderr
