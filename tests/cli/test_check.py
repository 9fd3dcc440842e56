"""tools/check counts what it should: cmocka cases, other programs, crashes, skips; and fails loudly."""
import json
import subprocess
import sys

import pytest

TWO_OK = "[==========] Running 2 test(s).\n[ RUN      ] one\n[       OK ] one\n" \
         "[ RUN      ] two\n[       OK ] two\n[==========] 2 test(s) run.\n"
ONE_BAD = "[ RUN      ] one\n[       OK ] one\n[ RUN      ] two\n[==========] 2 test(s) run.\n"
SKIPS = "[ RUN      ] one\nno goldens here\n[  SKIPPED ] one\n[ RUN      ] two\n[       OK ] two\n"
CRASH = "[ RUN      ] one\n[       OK ] one\n[ RUN      ] two\n"

# (result, status, stdout, stderr) of one meson test -> counts, what is shown
CASES = {
    "cmocka cases": [("OK", 0, TWO_OK, ""), "2 passed, 0 failed", ""],
    "a failed case": [("FAIL", 1, ONE_BAD, "[  FAILED  ] two\n"), "1 passed, 1 failed",
                      "FAILED unit/x: two"],
    "a skipped case": [("OK", 0, SKIPS, ""), "1 passed, 0 failed, 1 skipped",
                       "SKIPPED unit/x: one: no goldens here"],
    "a crash": [("FAIL", -11, CRASH, "Segmentation fault"), "1 passed, 1 failed",
                "FAILED unit/x: two"],
    "a leak after all": [("FAIL", 1, TWO_OK, "LeakSanitizer"), "2 passed, 1 failed", "LeakSanitizer"],
    "a plain program": [("OK", 0, "fine\n", ""), "1 passed, 0 failed", ""],
    "one that fails": [("FAIL", 3, "row avx2 is wrong\n", ""), "0 passed, 1 failed",
                       "row avx2 is wrong"],
    "one that hangs": [("TIMEOUT", -9, "", ""), "0 passed, 1 failed", "FAILED unit/x (timeout"],
    "one that skips": [("SKIP", 77, "no AMX here\n", ""), "0 passed, 0 failed, 1 skipped",
                       "SKIPPED unit/x: no AMX here"],
}


@pytest.fixture
def check(repo, tmp_path):
    """check(tests) -> tools/check over a build folder where meson would report these tests."""
    log = tmp_path / "build" / "meson-logs" / "testlog.json"
    log.parent.mkdir(parents=True)
    meson = tmp_path / "bin" / "meson"
    meson.parent.mkdir()
    meson.write_text(f"#!/bin/sh\ncp {tmp_path}/report {log}\n")
    meson.chmod(0o755)

    def run(tests):
        (tmp_path / "report").write_text("".join(json.dumps(t) + "\n" for t in tests))
        return subprocess.run(
            [sys.executable, repo / "tools/check", "--build", tmp_path / "build"], text=True,
            capture_output=True, timeout=60, env={"PATH": f"{meson.parent}:/usr/bin:/bin"})

    return run


def meson_test(result, status, stdout, stderr):
    return {"name": "qguard:unit / x", "result": result, "returncode": status, "stdout": stdout,
            "stderr": stderr}


@pytest.mark.parametrize("name", CASES)
def test_counts(check, name):
    test, counts, shown = CASES[name]
    done = check([meson_test(*test)])
    assert done.stdout.splitlines()[-1] == counts
    assert shown in done.stdout
    assert done.returncode == (0 if "0 failed" in counts and not counts.startswith("0 ") else 1)


def test_several_programs_add_up(check):
    done = check([meson_test("OK", 0, TWO_OK, ""), meson_test("OK", 0, "", "")])
    assert (done.stdout.splitlines()[-1], done.returncode) == ("3 passed, 0 failed", 0)


def test_no_test_at_all_is_a_failure(check):
    done = check([])
    assert (done.stdout.splitlines()[-1], done.returncode) == ("0 passed, 0 failed", 1)
