"""Every row of the evaluation sets through five doors: check, label, HTTP, Python, Ray Data.  The verdicts are the same
to the last digit, whatever the batch they were in."""
import json
import pathlib
import subprocess
import sys

import pytest
import requests

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE))
from heavy import environment, without_proxies  # noqa: E402
from wire import Server  # noqa: E402

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1500)]
REPO = HERE.parents[1]


@pytest.fixture(scope="module")
def talks(shared):
    """The message lists of all sets."""
    lines = [line for path in sorted((shared / "data" / "eval").glob("*.jsonl")) for line in path.open(encoding="utf-8")]
    return [json.loads(line)["messages"] for line in lines]


def same(verdict):
    """Without how much of the prompt was found in the cache, which depends on who asked before."""
    verdict["tokens"].pop("cached", None)
    return verdict


@pytest.fixture(scope="module")
def checked(talks, run_qguard):
    done = run_qguard("check", "--jsonl", "--quiet", input="".join(json.dumps({"messages": t}) + "\n" for t in talks),
                      timeout=900)
    assert done.returncode == 0, done.stderr[-1000:]
    return [same(json.loads(line)) for line in done.stdout.splitlines()]


def test_label(talks, checked, run_qguard, tmp_path):
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"messages": t}) + "\n" for t in talks))
    done = run_qguard("label", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--quiet", timeout=900)
    assert done.returncode == 0, done.stderr[-1000:]
    assert [same(json.loads(line)["qguard"]) for line in (tmp_path / "out.jsonl").open()] == checked


def test_http(talks, checked, qguard):
    server = Server([str(qguard), "serve", "--port", "0", "--quiet"])
    url = f"http://127.0.0.1:{server.port}/v1/guard"
    got = []
    with requests.Session() as session:
        session.trust_env = False
        for i in range(0, len(talks), 32):
            answer = session.post(url, json={"batch": [{"messages": t} for t in talks[i:i + 32]]}, timeout=300)
            assert answer.status_code == 200, answer.text[:500]
            got += answer.json()["results"]
    assert server.stop() == 0
    assert [same(v) for v in got] == checked


def test_python_and_ray(talks, checked, qguard, tmp_path):
    """In the environment of test_python_data, with a wheel of this build; two workers judge Parquet shards."""
    wheel = subprocess.run([REPO / "tools" / "wheel", qguard.parent], capture_output=True, text=True,
                           timeout=600).stdout.split()[-1]
    commands = environment("ray", "ray[data]==2.60.0", "cffi==2.1.1", "pandas")
    subprocess.run([commands / "pip", "install", "-q", "--no-deps", "--force-reinstall", wheel], check=True, timeout=300)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"n": i, "messages": t}) + "\n" for i, t in enumerate(talks)))
    (tmp_path / "in").mkdir()

    def python(*args):
        done = subprocess.run([commands / "python", *map(str, args)], capture_output=True, text=True, timeout=1200,
                              env=without_proxies(RAY_USAGE_STATS_ENABLED="0", RAY_DATA_DISABLE_PROGRESS_BARS="1"))
        assert done.returncode == 0, done.stderr[-3000:]
        print(done.stdout[-300:])

    python("-c", "import json,sys,time,pyarrow as pa,pyarrow.parquet as pq\n"
                 "from qguard import Guard\n"
                 "rows=[json.loads(x) for x in open(sys.argv[1])]\n"
                 "step=-(-len(rows)//8)\n"
                 "for s in range(8): pq.write_table(pa.Table.from_pylist(rows[s*step:(s+1)*step]), f'{sys.argv[2]}/in/{s}.parquet')\n"
                 "start=time.time()\n"
                 "with open(f'{sys.argv[2]}/python.jsonl','w') as out:\n"
                 "    for v in Guard(quiet=True).iter_many(rows): print(v.json(), file=out)\n"
                 "print(f'one process: {len(rows)/(time.time()-start):.0f} rows/s')\n", tmp_path / "rows.jsonl", tmp_path)
    assert [same(json.loads(line)) for line in (tmp_path / "python.jsonl").open()] == checked
    python(REPO / "integrations" / "ray" / "judge_parquet.py", tmp_path / "in", tmp_path / "out", "--workers", 2,
           "--threads", 1)
    python("-c", "import sys,json,pyarrow.parquet as pq\n"
                 "rows=sorted(pq.read_table(sys.argv[1]+'/out').to_pylist(), key=lambda r: r['n'])\n"
                 "with open(sys.argv[1]+'/ray.jsonl','w') as out:\n"
                 "    for r in rows: print(r['qguard'], file=out)\n", tmp_path)
    assert [same(json.loads(line)) for line in (tmp_path / "ray.jsonl").open()] == checked
