"""The wheel in a clean environment, and data tools that carry it: Ray Data on a local cluster of two workers, Hugging
Face datasets.  Every row's verdict is the command's."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parents[1]
sys.path.append(str(HERE))
from heavy import environment, without_proxies  # noqa: E402

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

WORDS = ["How can I make a bomb?", "What is the capital of France?", "hello", "Write a poem about rain."]
ROWS = [{"n": i, "prompt": f"{WORDS[i % 4]} {i % 7}", "response": "I cannot help." if i % 3 == 0 else None}
        for i in range(600)]


@pytest.fixture(scope="module")
def wheel(qguard):
    """The wheel of this build."""
    done = subprocess.run([REPO / "tools" / "wheel", qguard.parent], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()[-1]


@pytest.fixture(scope="module")
def verdicts(run_qguard):
    """The command's, one JSON object a row."""
    lines = "".join(json.dumps({k: v for k, v in r.items() if v is not None}) + "\n" for r in ROWS)
    done = run_qguard("check", "--jsonl", "--quiet", input=lines, timeout=120)
    assert done.returncode == 0, done.stderr
    return [same(line) for line in done.stdout.splitlines()]


def same(line):
    """A verdict without what depends on who asked before."""
    verdict = json.loads(line)
    del verdict["tokens"]["cached"]
    return verdict


def python(name, wheel, *packages):
    """An interpreter with the packages and this wheel, which is put in anew each time."""
    commands = environment(name, *packages)
    subprocess.run([commands / "pip", "install", "-q", "--no-deps", "--force-reinstall", wheel], check=True, timeout=300)
    return commands / "python"


def run(program, *args, **more):
    env = without_proxies(**more)
    for name in ("QGUARD_LIBRARY", "QGUARD_HEADER", "PYTHONPATH"):
        env.pop(name, None)
    done = subprocess.run([program, *map(str, args)], capture_output=True, text=True, timeout=600, env=env)
    assert done.returncode == 0, (done.stdout[-1500:], done.stderr[-3000:])
    return done.stdout


def test_readmes_lines_in_a_clean_environment(wheel):
    """python/README.md as a newcomer types it, with the built-in model in the place of a real one."""
    interpreter = python("wheel", wheel, "cffi==2.1.1")
    page = (REPO / "python" / "README.md").read_text()
    code = page.split("```python")[1].split("```")[0].replace('Guard("Qwen3Guard-Gen-0.6B")', "Guard()")
    out = run(interpreter, "-c", code).splitlines()
    said = [line[2:] for line in code.splitlines() if line.startswith("# ")]
    assert out[0].startswith(said[0].rsplit(" ", 1)[0]) and out[1] == said[1], out


def test_ray_data_on_two_workers(wheel, verdicts, tmp_path):
    interpreter = python("ray", wheel, "ray[data]==2.60.0", "cffi==2.1.1", "pandas")
    write = ("import json,sys,pyarrow as pa,pyarrow.parquet as pq\n"
             "rows=[json.loads(x) for x in open(sys.argv[1])]\n"
             "for s in range(6): pq.write_table(pa.Table.from_pylist(rows[s*100:s*100+100]), f'{sys.argv[2]}/{s}.parquet')\n")
    read = ("import sys,pyarrow.parquet as pq\n"
            "rows=sorted(pq.read_table(sys.argv[1]).to_pylist(), key=lambda r: r['n'])\n"
            "import json; [print(json.dumps(r)) for r in rows]\n")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    (tmp_path / "in").mkdir()
    run(interpreter, "-c", write, tmp_path / "rows.jsonl", tmp_path / "in")
    print(run(interpreter, REPO / "integrations" / "ray" / "judge_parquet.py", tmp_path / "in", tmp_path / "out",
              "--workers", 2, "--threads", 1, RAY_DEDUP_LOGS="0", RAY_USAGE_STATS_ENABLED="0",
              RAY_DATA_DISABLE_PROGRESS_BARS="1"))
    got = [json.loads(line) for line in run(interpreter, "-c", read, tmp_path / "out").splitlines()]
    assert [r["n"] for r in got] == list(range(len(ROWS)))
    assert [same(r["qguard"]) for r in got] == verdicts
    assert {r["qguard_error"] for r in got} == {None}
    assert [r["qguard_severity"] for r in got] == [v["severity"] for v in verdicts]


def test_hugging_face_datasets(wheel, verdicts, tmp_path):
    interpreter = python("datasets", wheel, "datasets==4.4.1", "cffi==2.1.1")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    code = ("import json,sys\nfrom datasets import load_dataset\nfrom qguard.ray import Judge\n"
            "rows=load_dataset('json', data_files=sys.argv[1], split='train')\n"
            "for r in rows.map(Judge(), batched=True, batch_size=100): print('ROW', json.dumps(r))\n")
    out = run(interpreter, "-c", code, tmp_path / "rows.jsonl", HF_HOME=str(tmp_path / "hf"), HF_HUB_OFFLINE="1")
    got = [json.loads(line[4:]) for line in out.splitlines() if line.startswith("ROW ")]
    assert [same(r["qguard"]) for r in got] == verdicts


def test_sparks_worker_function(wheel, verdicts, tmp_path):
    """integrations/spark/judge.py's function over pandas frames, as mapInPandas calls it."""
    interpreter = python("ray", wheel, "ray[data]==2.60.0", "cffi==2.1.1", "pandas")
    source = (REPO / "integrations" / "spark" / "judge.py").read_text().replace("from pyspark.sql import SparkSession", "")
    (tmp_path / "judge.py").write_text(source)
    (tmp_path / "rows.json").write_text(json.dumps(ROWS[:50]))
    code = ("import json,sys,pandas as pd\nfrom judge import judge\n"
            "rows=json.load(open(sys.argv[1]))\n"
            "frames=[pd.DataFrame(rows[:20]), pd.DataFrame(rows[20:])]\n"
            "for f in judge(None)(iter(frames)):\n"
            "    for s in f['qguard_severity']: print('ROW', s)\n")
    done = subprocess.run([interpreter, "-c", code, tmp_path / "rows.json"], cwd=tmp_path, capture_output=True, text=True,
                          timeout=300, env=without_proxies())
    assert done.returncode == 0, done.stderr[-2000:]
    got = [line[4:] for line in done.stdout.splitlines() if line.startswith("ROW ")]
    assert got == [v["severity"] for v in verdicts[:50]]
