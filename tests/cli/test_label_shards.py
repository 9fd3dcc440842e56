"""integrations/slurm: the batch script with the variables that Slurm sets, one task after the other, and the merge."""
import json
import os
import subprocess
import sys


def test_shards_and_their_merge(repo, qguard, run_qguard, tmp_path):
    folder = repo / "integrations" / "slurm"
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"hello {i}", "n": i}) + "\n" for i in range(11)))
    env = {**os.environ, "PATH": f"{qguard.parent}:{os.environ['PATH']}", "QGUARD_MODEL": "qguard-demo",
           "SLURM_CPUS_PER_TASK": "1", "SLURM_ARRAY_TASK_COUNT": "3"}
    for task in range(3):
        done = subprocess.run(["bash", folder / "label.sbatch", rows, tmp_path / "out"], capture_output=True, text=True,
                              env={**env, "SLURM_ARRAY_TASK_ID": str(task)}, timeout=60)
        assert done.returncode == 0, done.stderr
    parts = [tmp_path / "out" / f"part-{i}.jsonl" for i in range(3)]
    merged = subprocess.run([sys.executable, folder / "merge.py", *parts], capture_output=True, timeout=60)
    assert merged.returncode == 0, merged.stderr
    whole = tmp_path / "whole.jsonl"
    assert run_qguard("label", rows, whole, "--model", "qguard-demo", "--quiet").returncode == 0
    assert merged.stdout == whole.read_bytes()

    parts[0].write_bytes(b"".join(parts[0].read_bytes().splitlines(True)[:-2]))  # rows of a shard are missing
    broken = subprocess.run([sys.executable, folder / "merge.py", *parts], capture_output=True, timeout=60)
    assert broken.returncode != 0 and b"rows are missing" in broken.stderr
