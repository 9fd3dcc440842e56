"""qguard label --resume: killed at any moment, a run that goes on loses and repeats nothing.

A few kills here; QGUARD_KILLS=100 makes it a hundred for each form of output."""
import fcntl
import json
import os
import random
import signal
import subprocess
import time

import pytest

KILLS = int(os.environ.get("QGUARD_KILLS", "4"))
SUFFIXES = ["", ".gz", ".zst"]


def write_rows(path, n):
    rows = ["broken" if i % 89 == 7 else "" if i % 61 == 3 else
            json.dumps({"id": i, "prompt": f"{'Tell me a story. ' * (i * 5 % 11)}What about {i}?"})
            for i in range(n)]
    path.write_text("\n".join(rows))


def files(out):
    return {end: out.with_name(out.name + end).read_bytes()
            for end in ("", ".errors.jsonl", ".meta.json")}


@pytest.fixture
def command(qguard, tmp_path):
    def make(out, *options):
        return [qguard, "label", tmp_path / "in.jsonl", out, "--quiet", "--threads", "1",
                "--checkpoint-ms", "5", *options]
    return make


def kill_and_resume(command, out, kills, draw, *options):
    """Starts it again and again; gives how often it was killed before it ended."""
    killed = 0
    while True:
        run = subprocess.Popen(command(out, "--resume", *options), stderr=subprocess.PIPE)
        if killed < kills:
            time.sleep(draw.uniform(0.0, 0.35))
            if run.poll() is None:
                run.send_signal(signal.SIGKILL)
                killed += 1
        err = run.communicate(timeout=170)[1]
        if run.returncode != -signal.SIGKILL:
            assert run.returncode == 1, err    # rows that are no JSON
            return killed


@pytest.mark.timeout(170 + 4 * KILLS)
@pytest.mark.parametrize("suffix", SUFFIXES, ids=["plain", "gzip", "zstd"])
def test_killed_at_any_moment(command, tmp_path, suffix):
    write_rows(tmp_path / "in.jsonl", 800 + 60 * KILLS)
    whole, out = tmp_path / f"whole.jsonl{suffix}", tmp_path / f"out.jsonl{suffix}"
    assert subprocess.run(command(whole)).returncode == 1
    draw, killed, i = random.Random(7), 0, 0
    while killed < KILLS:    # a run that ends early is followed by another one
        target = tmp_path / f"{i}-{out.name}"
        killed += kill_and_resume(command, target, KILLS - killed, draw)
        assert files(target) == files(whole)
        assert not target.with_name(target.name + ".journal").exists()
        i += 1
    print(f"{killed} kills, {i} outputs")


def test_killed_with_compressed_input_a_filter_and_a_shard(command, tmp_path):
    write_rows(tmp_path / "plain", 1500)
    subprocess.run("gzip -c plain > in.jsonl", shell=True, cwd=tmp_path, check=True)
    options = "--shard", "1/2", "--where", "p.Unsafe>0.05"
    assert subprocess.run(command(tmp_path / "whole", *options)).returncode == 1
    kill_and_resume(command, tmp_path / "out", 3, random.Random(3), *options)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.fixture
def half(command, tmp_path):
    """An output whose run was killed after some checkpoints."""
    write_rows(tmp_path / "in.jsonl", 1200)
    out = tmp_path / "out"
    run = subprocess.Popen(command(out))
    end = time.monotonic() + 60
    sizes = set()    # that it has grown twice shows that the journal counts the first
    while time.monotonic() < end and len(sizes) < 3:
        sizes.add(out.stat().st_size // 50000 if out.exists() else 0)
        time.sleep(0.01)
    run.kill()
    run.wait()
    assert len(sizes) == 3
    return out


def resume(command, out, *options):
    done = subprocess.run(command(out, "--resume", *options), capture_output=True, text=True)
    return done.returncode, done.stderr


def test_a_torn_tail_is_cut_off(command, tmp_path, half):
    with half.open("ab") as f:
        f.write(b'{"torn')
    with half.with_name("out.errors.jsonl").open("ab") as f:
        f.write(b"torn")
    assert resume(command, half)[0] == 1
    subprocess.run(command(tmp_path / "whole"))
    assert files(half) == files(tmp_path / "whole")


@pytest.mark.parametrize("slot", [0, 1])
def test_a_torn_journal_sector_costs_rows_of_work_and_nothing_else(command, tmp_path, half, slot):
    journal = half.with_name("out.journal")
    data = bytearray(journal.read_bytes())
    at = len(data) - (2 - slot) * 512
    data[at + 100:at + 110] = b"\xff" * 10
    journal.write_bytes(data)
    assert resume(command, half)[0] == 1
    subprocess.run(command(tmp_path / "whole"))
    assert files(half) == files(tmp_path / "whole")


def test_another_run_is_not_gone_on_with(command, tmp_path, half, qguard):
    before = half.read_bytes()
    for options, word in ((("--dtype", "float32"), "model"), (("--shard", "0/2"), "shard"),
                          (("--keep", "safe"), "where"), (("--prompt-field", "x"), "prompt_field")):
        code, err = resume(command, half, *options)
        assert code == 1 and word in err and "--force" in err, err
    assert half.read_bytes() == before


def test_another_input_is_noticed(command, tmp_path, half):
    before = half.read_bytes()
    source = tmp_path / "in.jsonl"
    source.write_text(source.read_text().replace("What about", "What, about"))
    code, err = resume(command, half)
    assert code == 1 and "another input" in err
    source.write_text("")
    code, err = resume(command, half)
    assert code == 1 and "another input" in err
    assert half.read_bytes() == before


def test_an_output_that_lost_bytes_is_noticed(command, half):
    os.truncate(half, 1000)
    code, err = resume(command, half)
    assert code == 1 and "1000 bytes" in err


def test_one_writer_at_a_time(command, half):
    with half.with_name("out.journal").open("rb") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        for option in ("--resume", "--force"):
            done = subprocess.run(command(half, option), capture_output=True, text=True)
            assert done.returncode == 1 and "another process" in done.stderr


def test_a_full_disk_is_said_and_gone_on_with(command, tmp_path, qguard):
    write_rows(tmp_path / "in.jsonl", 600)
    limited = ["prlimit", "--fsize=100000", *command(tmp_path / "out")]
    done = subprocess.run(limited, capture_output=True, text=True,
                          preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
    assert done.returncode == 1 and "out: File too large" in done.stderr
    assert resume(command, tmp_path / "out")[0] == 1
    subprocess.run(command(tmp_path / "whole"))
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_finished_run_is_told_from_another_one(run_qguard, tmp_path):
    """--resume of what is finished: nothing to do only while model, filter and input are what they were."""
    rows, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    first = "".join(json.dumps({"prompt": f"hello {i}"}) + "\n" for i in range(9))
    rows.write_text(first)

    def label(*more):
        return run_qguard("label", rows, out, "--quiet", "--resume", *more)
    assert label().returncode == 0
    whole = out.read_bytes()
    rows.write_text(first + "\n \n")
    assert label().returncode == 0  # blank lines are no rows
    for text, word in ((first + json.dumps({"prompt": "new"}) + "\n", "more lines"), (first[:-2] + "!\n", "another"),
                       (first.replace("hello 8", "hallo 8"), "another"), ("", "another")):
        rows.write_text(text)
        done = label()
        assert done.returncode == 1 and word in done.stderr, done.stderr
    rows.write_text(first)
    done = label("--where", "severity!=Safe")
    assert done.returncode == 1 and "another where" in done.stderr, done.stderr
    done = label("--dtype", "float32")
    assert done.returncode == 1 and "another model" in done.stderr, done.stderr
    assert out.read_bytes() == whole


def test_a_finished_shard_is_not_done_when_it_got_a_row(run_qguard, tmp_path):
    rows, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"

    def label(n):
        rows.write_text("".join(json.dumps({"prompt": f"hello {i}"}) + "\n" for i in range(n)))
        return run_qguard("label", rows, out, "--quiet", "--resume", "--shard", "0/3")
    assert [label(n).returncode for n in (4, 6, 7)] == [0, 0, 1]  # line 7 is the shard's own
