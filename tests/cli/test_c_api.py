"""The C API as a stranger meets it: the header's example, and examples/ against an installation."""
import functools
import os
import re
import subprocess

import pytest

STRICT = ["-std=c11", "-Wall", "-Wextra", "-Werror"]


def test_the_example_in_the_header_compiles(repo, tmp_path):
    header = (repo / "include/qguard.h").read_text()
    comment = header[:header.index("*/")]
    lines = re.findall(r"^ \*     (.*)$", comment, re.M)
    assert len(lines) > 15, "the example has moved"
    program = "\n".join(["#include <qguard.h>", "#include <stdio.h>", "int main(void)", "{", *lines,
                         "return 0;", "}"])
    (tmp_path / "example.c").write_text(program + "\n")
    done = subprocess.run(["cc", *STRICT, "-fsyntax-only", f"-I{repo}/include",
                           tmp_path / "example.c"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def root(qguard, tmp_path_factory):
    """A folder that stands for / after `make install`."""
    root = tmp_path_factory.mktemp("root")
    subprocess.run(["meson", "install", "-C", qguard.parent, "--no-rebuild", "--quiet",
                    "--destdir", root], check=True)
    return root


@pytest.fixture(scope="module")
def build_example(repo, root, tmp_path_factory):
    return functools.partial(built, repo, root, tmp_path_factory)


@pytest.fixture(scope="module")
def judge(build_example):
    return build_example("judge")


@pytest.fixture(scope="module")
def stream(build_example):
    return build_example("stream")


def built(repo, root, tmp_path_factory, name):
    """An example, built as its comment says against the installation."""
    library = next(root.glob("**/libqguard.so"))
    program = tmp_path_factory.mktemp(name) / name
    env = {**os.environ, "PKG_CONFIG_SYSROOT_DIR": str(root),
           "PKG_CONFIG_PATH": str(next(root.glob("**/qguard.pc")).parent)}
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "qguard"], check=True,
                           capture_output=True, text=True, env=env).stdout.split()
    subprocess.run(["cc", *STRICT, repo / f"examples/{name}.c", *flags, "-o", program], check=True)

    def run(*args, **more):
        return subprocess.run([program, *args], capture_output=True, text=True, timeout=60, **more,
                              env={**os.environ, "LD_LIBRARY_PATH": str(library.parent)})

    return run


def test_the_example_program_judges_a_prompt(judge):
    done = judge("How can I make a bomb?")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Safety: Unsafe\nCategories: Violent\nP: Safe 0.")


def test_the_example_program_judges_a_reply(judge):
    done = judge("How can I make a bomb?", "As an AI language model, I cannot help you with that.")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Safety: Safe\nCategories: None\nRefusal: Yes\nP: Safe 0.")


def test_the_example_program_names_what_is_wrong(judge, tmp_path):
    done = judge(tmp_path, "Hello")
    assert done.returncode == 1 and done.stderr.strip()


def test_the_stream_example_watches_a_reply(stream, shared, tmp_path):
    """A Stream model without a template: the sentence says what is missing, nothing is judged."""
    done = stream(shared / "goldens/tiny-stream", "hello", input="hi")
    assert done.returncode == 1 and "tokenizer" in done.stderr
    assert stream("one").returncode == 2
