"""tools/lint: every rule fires on a small bad tree, and not on a good one."""
import shutil
import subprocess
import sys

import pytest

RANKS = ("base: door\ntext: base\nkern: base\nserve: door base\ncli: door base serve\n"
         "<lib.h>: kern\n")
GOOD = {
    "tools/ranks.txt": RANKS,
    ".clang-format": "BasedOnStyle: LLVM\nIndentWidth: 4\nColumnLimit: 100\n"
                     "BreakBeforeBraces: Linux\nAllowShortFunctionsOnASingleLine: None\n",
    "include/qguard.h": "#ifndef QGUARD_H\n#define QGUARD_H\n\n#define QG_API\n"
                        "/* One. */\nQG_API int qg_one(void);\n\n#endif\n",
    "src/base/meson.build": "base_src = files('mem.c')\n",
    "src/meson.build": "cli_src = files('cli/main.c')\n",
    "tests/unit/meson.build": "tests = ['b']\n",
    "src/base/mem.h": "#ifndef QG_BASE_MEM_H\n#define QG_BASE_MEM_H\n\n"
                      "/* Like free(), but \"ours\". */\nvoid qg_mfree(void *p);\n\n#endif\n",
    "src/base/mem.c": '#include "base/mem.h"\n\n#include <stdlib.h>\n\n'
                      "void qg_mfree(void *p)\n{\n    free(p);\n}\n",
    "src/cli/main.c": '#include "base/mem.h"\n#include "qguard.h"\n\n#include <stdio.h>\n\n'
                      "static int count;\n\n"
                      'int main(void)\n{\n    printf("%d", ++count);\n    return 0;\n}\n',
}


def long_function(n):
    return "void qg_long(void)\n{\n" + "    qg_mfree(0);\n" * (n - 2) + "}\n"


# rule, file, its text, what the message must contain
BAD = [
    ("include", "src/base/a.c", '#include "text/utf8.h"\n', "base must not include text"),
    ("include", "src/text/a.c", '#include "qguard.h"\n', "text must not include the door"),
    ("include", "src/base/a.c", '#include "qguard.h"\n', "base/status.h alone"),
    ("include", "src/text/a.c", '#include "mem.h"\n', "not of the form"),
    ("include", "src/text/a.c", '#include "tests/unit.h"\n', "not of the form"),
    ("include", "src/text/a.c", "#include <lib.h>\n", "belongs to kern"),
    ("include", "src/attic/a.c", "int qg_a;\n", "room attic"),
    ("include", "include/other.h", '#include "base/mem.h"\n', "include must not include base"),
    ("banned", "src/text/a.c", "void qg_a(char *d, char *s)\n{\n    strcpy(d, s);\n}\n", "strcpy"),
    ("banned", "src/text/a.c", "void *qg_a(void)\n{\n    return malloc (3);\n}\n", "malloc"),
    ("banned", "src/text/a.c", "void qg_a(void)\n{\n    qg_each(1, free);\n}\n", "free"),
    ("banned", "src/base/a.c", "void qg_a(void)\n{\n    exit(1);\n}\n", "exit"),
    ("banned", "src/base/a.c", 'void qg_a(void)\n{\n    fprintf(0, "");\n}\n', "fprintf"),
    ("banned", "tests/unit/a.c", "int a(char *s)\n{\n    return atoi(s);\n}\n", "atoi"),
    ("include", "src/cli/a.c", '#include "serve/chat.h"\n', "cli sees serve/serve.h alone"),
    ("if", "src/text/a.c", "#ifdef __x86_64__\nint qg_a(void);\n#endif\n", "#ifdef"),
    ("guard", "src/text/a.h", "#pragma once\n", "QG_TEXT_A_H"),
    ("name", "src/text/mem.c", "int qg_a(void);\n", "src/base/mem.c"),
    ("built", "src/text/a.c", "int qg_a;\n", "no meson.build names"),
    ("built", "tests/unit/test_a.c", "int a;\n", "no meson.build names"),
    ("comment", "src/text/a.h", "/* one */\nint qg_a(void);\n\nint qg_b(int n);\n", "qg_b has no"),
    ("limit", "src/text/a.c", "#define QG_MAX_A 3\n", "QG_MAX_A belongs into"),
    ("length", "src/text/a.c", "int qg_a(void);\n" * 601, "601 lines"),
    ("function", "src/text/a.c", long_function(81), "qg_long has 81 lines"),
    ("width", "src/text/a.c", "/* " + "x" * 98 + " */\n", "104 columns"),
    ("space", "src/text/a.c", "int qg_a(void); \n", "blanks"),
    ("space", "docs/a.md", "a\tb\n", "tab"),
    ("space", "src/text/a.c", "int qg_a(void);\n\n", "line break"),
    ("machine", "docs/a.md", "see /" + "home/me/x\n", "path of one machine"),
    ("machine", "tools/a.py", "x = '/" + "tmp/x'\n", "path of one machine"),
    ("header", "src/text/a.h", "#ifndef QG_TEXT_A_H\n#define QG_TEXT_A_H\nsize_t qg_a(void);\n"
                               "#endif\n", "compile alone (cc)"),
    ("header", "include/qguard.h", "int qg_new(int new);\n", "compile alone (c++)"),
    ("format", "src/text/a.c", "int  qg_a( void );\n", "layout"),
]
# what a library's C text puts into its symbols: rule, text, message
BAD_OBJECTS = [
    ("mutable", "static int n;\nint qg_a(void);\nint qg_a(void)\n{\n    return ++n;\n}\n", "n can"),
    ("mutable", "int qg_a(void);\nint qg_a(void)\n{\n    static int k = 1;\n"
                "    return ++k;\n}\n", "k."),
    ("mutable", "static _Thread_local int t;\nint qg_a(void);\nint qg_a(void)\n{\n"
                "    return ++t;\n}\n", "t can"),
    ("prefix", "int other(void);\nint other(void)\n{\n    return 1;\n}\n", "other is global"),
]


def write(root, files):
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def lint(repo, root, *args):
    return subprocess.run([sys.executable, repo / "tools" / "lint", "--root", root, *args],
                          capture_output=True, text=True, timeout=60)


def archive(root, text):
    """Builds a library of one file in root/build."""
    (root / "build").mkdir(exist_ok=True)
    write(root, {"src/text/made.c": text})
    subprocess.run(["cc", "-c", "-fPIC", root / "src/text/made.c",
                    "-o", root / "build/src_text_made.c.o"], check=True)
    subprocess.run(["ar", "rcs", root / "build/libleft.a", root / "build/src_text_made.c.o"],
                   check=True)


def test_a_good_tree_has_no_findings(repo, tmp_path):
    write(tmp_path, GOOD)
    done = lint(repo, tmp_path)
    assert done.stdout.splitlines()[-1] == "lint: 4 C files, 0 findings"
    assert done.returncode == 0 and "3 files, median" in done.stdout


@pytest.mark.parametrize("rule, path, text, message", BAD,
                         ids=[f"{b[0]}-{i}" for i, b in enumerate(BAD)])
def test_rule_fires(repo, tmp_path, rule, path, text, message):
    if rule == "format" and "version 14." not in clang_format_version():
        pytest.skip("clang-format 14 is not installed")
    write(tmp_path, {**GOOD, path: text})
    done = lint(repo, tmp_path, "--only", rule)
    assert done.returncode == 1
    assert f": {rule}: " in done.stdout and message in done.stdout and path in done.stdout


def clang_format_version():
    tool = shutil.which("clang-format-14") or shutil.which("clang-format")
    if not tool:
        return ""
    return subprocess.run([tool, "--version"], capture_output=True, text=True).stdout


def test_names_in_comments_strings_and_members_are_fine(repo, tmp_path):
    text = ('/* free(p) */\n// exit(1)\nstatic const char s[] = "malloc(1)";\n'
            "void qg_a(struct s *x)\n{\n    x->free(x);\n    (*x).exit(x);\n}\n")
    write(tmp_path, {**GOOD, "src/text/a.c": text})
    assert lint(repo, tmp_path, "--only", "banned").returncode == 0


def test_an_exception_that_is_not_needed_is_a_finding(repo, tmp_path):
    write(tmp_path, {**GOOD, "tools/lint.allow": "banned src/text/*.c exit  # long gone\n"})
    (tmp_path / "build").mkdir()
    done = lint(repo, tmp_path, "--build", tmp_path / "build")
    assert done.returncode == 1 and "allow: not needed: banned src/text/*.c exit" in done.stdout


def test_an_allowed_finding_is_not_shown(repo, tmp_path):
    text = "void qg_a(void)\n{\n    exit(1);\n}\n"
    write(tmp_path, {**GOOD, "src/text/a.c": text,
                     "tools/lint.allow": "banned src/text/*.c exit  # tested\n"})
    assert lint(repo, tmp_path, "--only", "banned").returncode == 0


@pytest.mark.parametrize("rule, text, message", BAD_OBJECTS)
def test_rule_on_objects_fires(repo, tmp_path, rule, text, message):
    write(tmp_path, GOOD)
    archive(tmp_path, text)
    done = lint(repo, tmp_path, "--build", tmp_path / "build", "--only", rule)
    assert done.returncode == 1
    assert f"src/text/made.c:1: {rule}: {message}" in done.stdout


def test_constants_are_not_mutable(repo, tmp_path):
    write(tmp_path, GOOD)
    archive(tmp_path, 'static const char *const names[] = {"a", "b"};\nconst char *qg_a(int i);\n'
                      "const char *qg_a(int i)\n{\n    return names[i];\n}\n")
    done = lint(repo, tmp_path, "--build", tmp_path / "build", "--only", "mutable")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("text, message", [
    ("int qg_one(void) { return 1; }\nint qg_two(void) { return 2; }\n", "exports qg_two"),
    ("int qg_zero(void) { return 1; }\n", "qg_one is declared, but"),
])
def test_the_shared_library_exports_the_header(repo, tmp_path, text, message):
    write(tmp_path, GOOD)
    archive(tmp_path, text)
    subprocess.run(["cc", "-shared", "-o", tmp_path / "build/libqguard.so",
                    tmp_path / "build/src_text_made.c.o"], check=True)
    done = lint(repo, tmp_path, "--build", tmp_path / "build", "--only", "prefix")
    assert done.returncode == 1 and message in done.stdout
