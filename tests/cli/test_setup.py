"""tools/setup with a stand-in for Debian: what it asks for, as whom, and when it stays silent."""
import os
import stat
import subprocess

import pytest

LIST = "build  gcc   compiler\nbuild  meson\ncheck  python3-venv\nfuzz  clang\n"

# Each stand-in writes what it was asked to $LOG.  The script's own tools come from the real PATH.
STANDINS = {
    "dpkg-query": 'for p in $INSTALLED; do echo "$p installed"; done; echo "gone deinstalled"; exit 1',
    "id": "echo $STAND_IN_UID",
    "apt-get": 'echo "apt-get $* ($DEBIAN_FRONTEND)" >> $LOG; [ "$4" != "$FAIL_ON" ] || '
               '{ [ ! -e $LOG.once ] && touch $LOG.once && exit 100; } || exit 0',
    "sudo": 'echo "sudo" >> $LOG; exec "$@"',
}


@pytest.fixture
def setup(repo, tmp_path):
    """setup(installed=…, uid=…, sudo=…) -> (exit status, stderr, lines of the log)"""
    (tmp_path / "tools").mkdir()
    script = tmp_path / "tools" / "setup"
    lists = tmp_path / "lists"
    lists.mkdir()
    script.write_text((repo / "tools/setup").read_text().replace("/var/lib/apt/lists", str(lists)))
    (tmp_path / "tools" / "packages.txt").write_text(LIST)

    def run(*groups, installed="", uid="0", sudo=True, fail_on="none", fresh=False):
        if not fresh:
            (lists / "main_Packages.lz4").touch()
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, text in STANDINS.items():
            if name != "sudo" or sudo:
                (folder / name).write_text(f"#!/bin/sh\n{text}\n")
                (folder / name).chmod(0o755)
        for tool in ("awk", "sort", "grep", "dirname", "env", "ls", "cat", "sh", "touch"):
            if not (folder / tool).exists():
                real = subprocess.run(["sh", "-c", f"command -v {tool}"], capture_output=True,
                                      text=True).stdout.strip()
                (folder / tool).symlink_to(real)
        log = tmp_path / "log"
        done = subprocess.run(["/bin/sh", script, *groups], capture_output=True, text=True,
                              env={"PATH": str(folder), "LOG": str(log), "INSTALLED": installed,
                                   "STAND_IN_UID": uid, "FAIL_ON": fail_on}, timeout=20)
        return done.returncode, done.stderr, log.read_text().splitlines() if log.exists() else []

    return run


def test_the_real_script_is_executable(repo):
    assert os.stat(repo / "tools/setup").st_mode & stat.S_IXUSR


def test_nothing_happens_when_all_is_there(setup):
    assert setup("build", "check", installed="gcc meson python3-venv") == (0, "", [])


def test_only_what_is_missing_is_installed(setup):
    status, _, log = setup("build", "check", installed="gcc python3-venv")
    assert status == 0
    assert log[-1] == "apt-get -q -y install --no-install-recommends meson (noninteractive)"


def test_groups_that_were_not_asked_for_are_left_out(setup):
    _, _, log = setup("build")
    assert log[-1].endswith("install --no-install-recommends gcc meson (noninteractive)")


def test_a_package_that_was_removed_counts_as_missing(setup):
    _, _, log = setup("build", installed="meson")
    assert log[-1].endswith("--no-install-recommends gcc (noninteractive)")


def test_sudo_is_used_when_not_root(setup):
    status, _, log = setup("build", uid="1000")
    assert status == 0
    assert log[0] == "sudo" and log[-1].startswith("apt-get -q -y install")


def test_without_root_and_sudo_there_is_a_sentence(setup):
    status, said, log = setup("build", uid="1000", sudo=False)
    assert status == 1 and log == []
    assert "needs root or sudo" in said and "apt-get install gcc meson" in said


def test_stale_package_lists_are_updated_and_the_install_tried_again(setup):
    status, _, log = setup("build", fail_on="--no-install-recommends")
    assert status == 0
    assert [line.split()[3] for line in log[-2:]] == ["update", "install"]


def test_a_machine_without_package_lists_gets_them_first(setup):
    _, _, log = setup("build", fresh=True)
    assert [line.split()[3] for line in log] == ["update", "install"]
