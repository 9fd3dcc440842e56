"""The pages say what is so: links lead somewhere, examples run, `make help` lists the targets."""
import re
import subprocess
import sys

PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/**/*.md", "demo/*.md"]


def pages(repo):
    return sorted(path for pattern in PAGES for path in repo.glob(pattern))


def fenced(text, language):
    """The blocks of a page in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def test_links_lead_somewhere(repo):
    dead = []
    for page in pages(repo):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path = target.split("#")[0]
            if not target.startswith(("http", "#")) and not (page.parent / path).exists():
                dead.append(f"{page.relative_to(repo)}: {target}")
    assert not dead


def test_named_files_exist(repo):
    """`src/…`, `tests/…` and so on in running text; <placeholders>, patterns and build/ aside."""
    missing = []
    for page in pages(repo):
        for name in re.findall(r"`((?:src|tests|tools|docs|demo|include|examples)/[\w./-]+)`",
                               page.read_text()):
            if not (repo / name).exists():
                missing.append(f"{page.relative_to(repo)}: {name}")
    assert not missing


def test_the_c_example_of_the_readme_compiles(repo, tmp_path):
    block, = fenced((repo / "README.md").read_text(), "c")
    source = tmp_path / "readme.c"
    source.write_text("#include <qguard.h>\n#include <stdio.h>\nint main(void)\n{\n" + block
                      + "return 0;\n}\n")
    done = subprocess.run(["cc", "-std=c11", "-Wall", "-Werror", "-fsyntax-only",
                           f"-I{repo}/include", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_python_example_of_the_readme_runs(repo, qguard):
    block, = (b for b in fenced((repo / "README.md").read_text(), "python") if "base_url" in b)
    name = re.search(r'model="([^"]+)"', block)[1]
    server = subprocess.Popen([qguard, "serve", "--quiet", "--port", "0",
                               "--served-model-name", name], stderr=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://\S+", server.stderr.readline())[0]
        done = subprocess.run([sys.executable, "-c", block.replace("http://127.0.0.1:8000", address)],
                              capture_output=True, text=True, timeout=60)
    finally:
        server.terminate()
        server.communicate(timeout=30)
    assert (done.stdout, done.returncode) == ("Safety: Safe\nCategories: None\nRefusal: Yes\n", 0), \
        done.stderr
    assert server.returncode == 0


def test_the_demo_prints_what_the_readme_shows(repo, qguard):
    done = subprocess.run([repo / "tools/demo", qguard], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    block, = fenced((repo / "README.md").read_text(), "text")
    assert done.stdout.split("\n\n", 1)[1] == block


def test_make_help_lists_every_public_target(repo):
    done = subprocess.run(["make", "-s", "help"], cwd=repo, capture_output=True, text=True)
    for target in ("all", "demo", "check", "check-clients", "bench", "fuzz", "lint", "install"):
        assert f"make {target} " in done.stdout
