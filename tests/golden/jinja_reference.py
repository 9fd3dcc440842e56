"""jinja2 set up as transformers sets it up, and the comparison of qguard's renderings with it."""
import copy
import functools
import json
import os
import pathlib
import subprocess

import pytest

jinja2 = pytest.importorskip("jinja2")
import jinja2.ext  # noqa: E402
from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: E402

VARS = {
    "s": "Hello World", "t": "  \t\n padded \u3000\n", "u": "请问😀 e\u0301 ß İ ﬁ Σας",
    "empty": "", "crlf": "a\r\nb\rc\nd\u2028e\x0bf", "q": "it's \"quoted\" \\ \x01\x7f\u200d",
    "i": 7, "z": 0, "neg": -3, "f": 2.5, "g": 1e16, "h": 1e-7, "yes": True, "no": False,
    "nil": None, "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "el": [], "nested": [[1, [2]], {"a": []}],
    "d": {"b": 1, "a": {"x": [1, None, True, "ü"]}, "items": 5, "update": 6}, "ed": {},
    "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi\n"},
                 {"role": "assistant", "content": "<think>\na\n</think>\n\nb", "n": 3},
                 {"role": "user", "content": None}],
}


def environment():
    """As transformers makes it."""
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[jinja2.ext.loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


ENV = environment()


@functools.lru_cache(maxsize=16)
def compiled(template):
    return ENV.from_string(template)


def reference(template, variables):
    """(text, None) or (None, error)."""
    try:
        # a copy, because some filters of jinja2 change lists in place
        text = compiled(template).render(**copy.deepcopy(variables))
        text.encode("utf-8")
        return text, None
    except Exception as e:  # noqa: BLE001 - whatever it raises is an error of the template
        return None, f"{type(e).__name__}: {e}"


@pytest.fixture(scope="session")
def render(repo):
    """render([(template, variables)]) -> answers of tests/golden/tmpl_render."""
    build = pathlib.Path(os.environ.get("QGUARD_BUILD") or repo / "build")
    program = build / "tests" / "golden" / "tmpl_render"
    assert program.is_file(), f"{program} is missing: run make first"

    def run(requests):
        lines = "".join(json.dumps({"template": t, "vars": v}) + "\n" for t, v in requests)
        done = subprocess.run([str(program)], input=lines.encode(), capture_output=True,
                              timeout=300, check=True)
        answers = [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]
        assert len(answers) == len(requests)
        return answers

    return run


def compare(requests, answers, refusals=False):
    """Differences, as text.  refusals: unsupported constructs and limits are no difference."""
    out = []
    for (template, variables), answer in zip(requests, answers):
        text, error = reference(template, variables)
        if text is not None and " at 0x" in text:
            continue  # an address: no two renderings agree on it
        if "error" in answer:
            if refusals and "cannot be sliced" in answer["error"]:
                continue  # jinja2 folds constants, and there such a slice is undefined
            refused = answer["status"] in ("unsupported", "too_long") or "64 bits" in answer["error"]
            if error is None and not (refusals and refused):
                out.append(f"{template!r}\n  jinja2: {text!r}\n  qguard: {answer['error']}")
        elif error is not None or answer["text"] != text:
            out.append(f"{template!r}\n  jinja2: {text if error is None else error!r}\n"
                       f"  qguard: {answer['text']!r}")
        if "text" in answer:
            size, ends = len(answer["text"].encode()), [end for end, _ in answer["spans"]]
            assert ends == sorted(set(ends)) and (ends[-1] if ends else 0) == size, template
    return out


def check(requests, render, refusals=False):
    differences = compare(requests, render(requests), refusals)
    assert not differences, f"{len(differences)} of {len(requests)}:\n" + "\n".join(differences[:20])
