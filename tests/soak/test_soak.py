"""The short form of tests/soak/soak.py: 20 seconds, a few hundred connections."""
import pathlib
import subprocess
import sys


def test_short(qguard):
    script = pathlib.Path(__file__).resolve().parent / "soak.py"
    done = subprocess.run([sys.executable, script, "--command", qguard, "--seconds", "20", "--workers", "12", "--idle", "300",
                           "--readers", "40", "--texts", "3"], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
