"""bench/compare.py and report.py: rows come together, what is not installed is named. No speed is judged."""
import subprocess
import sys


def test_compare_and_report(repo, qguard, tmp_path):
    csv, page = tmp_path / "rows.csv", tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\nold\n<!-- table -->\nafter\n")
    done = subprocess.run([sys.executable, repo / "bench/compare.py", "--qguard", qguard, "--model",
                           repo / "demo/model", "--peers", tmp_path, "--only", "growing,load", "--dtypes",
                           "bfloat16", "--out", csv], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "openvino int8: not installed, skipped" in done.stderr
    head = csv.read_text().splitlines()
    assert [line[:1] for line in head[:3]] == ["#"] * 3 and head[3].startswith("engine,version,")
    csv.write_text(csv.read_text() + "a-peer,1,bf16,load,first_verdict,3600,s,2,made up\n")

    done = subprocess.run([sys.executable, repo / "bench/report.py", "--plots", tmp_path, "--into", page, csv],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    row, = (line for line in done.stdout.splitlines() if "process start to first verdict" in line)
    assert "3600 s, a-peer bf16" in row
    assert row in page.read_text() and "old" not in page.read_text()
    assert "a-peer bf16" in (tmp_path / "load.svg").read_text()


def test_compare_knows_its_workloads(repo, qguard, tmp_path):
    done = subprocess.run([sys.executable, repo / "bench/compare.py", "--qguard", qguard, "--model", tmp_path,
                           "--only", "nonsense"], capture_output=True, text=True)
    assert done.returncode == 1 and "the workloads are" in done.stderr
