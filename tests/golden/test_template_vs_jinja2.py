"""The template language against jinja2 itself: snippets, whitespace, random conversations in the real templates.

Both sides get the same template and variables; the rendered text must be equal, or both must fail.
Variables travel as JSON, so that both see what a request would carry."""
import random

import pytest

from golden.jinja_reference import VARS, check, render  # noqa: F401 - render is a fixture

# Python warns of the odd code that jinja2 makes out of odd templates
pytestmark = [pytest.mark.filterwarnings("ignore::SyntaxWarning"),
              pytest.mark.filterwarnings("ignore::DeprecationWarning")]
TEMPLATES = {"gen": "qwen3guard-gen.chat_template.jinja", "qwen3": "qwen3-rev2.chat_template.jinja",
             "first": "qwen3-0.6B.chat_template.jinja"}




WHITESPACE = [
    "a\n  {% if 1 %}\n  b\n  {% endif %}\n  c\n", "{% if 1 %}\n\n\nx{% endif %}\n\n", "x\n", "x\n\n", "\n", "", "\r\nx\r\n",
    "a  {%- if 1 -%}  b  {%- endif -%}  c", "a {%+ if 1 %} b {%+ endif +%}\nc", "  {%+ if 1 +%}\n  x{% endif %}",
    "  {{ 1 }}\n  {% set x = 1 %}\n  {# c #}\n  {{ x }}  \n", "text {% if 1 %}\n{% endif %} more",
    "{%- for m in messages %}\n{{ m.role }}\n{%- endfor %}\n\nend\n", "a\n\t {# x #}\nb", "a {# x #}\n\nb", "{# x #}  {% if 1 %} y{% endif %}",
    "a\n{{- 1 -}}\nb", "a \n {{- 1 }} \n {{ 2 -}} \n b", "{% raw %}\n x {{ y }} \n{% endraw %}\nz", "a\n  {% raw %} x {% endraw %}\n  b",
    "{%- raw -%} x {%- endraw -%} y", "a\n  {%- raw %} x {% endraw +%}\n  b", "\u2003{% if 1 %}\u2003x{% endif %}", "a\u00a0\n\u00a0{% if 1 %}b{% endif %}",
    "{% if 1 -%}\n\n  x{% endif %}", "{% if 1 %}\r\n  x\r\n{% endif %}\r\ny\r", "a\x1c{%- if 1 %}b{% endif %}", "{# a -#}  b", "{#- a #}\n b", "x {#+ a #}\nb", "  {#+ a +#}\nb",
    "{% set x = 1 %}{% set y = 2 %}\n{{ x }}\n", "{{ '\n' }}{{ \"a\r\nb\" }}", "{% if 1 %}a{% endif %}\n\n{% if 1 %}b{% endif %}\n", "{", "{ {", "a{b}c{{1}}}", "}}", "%}{{ 1 }}", "{{ 1 }}}",
    "{{1}}{{2}}", "{{-1}}", "{{ -1}}", "{{+1}}", "{{1-}}x", "{%if 1%}x{%endif%}", "{%-if 1-%}x{%-endif-%}", "{% if 1 %}\n{{ 1 }}\n{% endif %}", "{%\n if\n 1\n %}\nx{% endif %}", "   {% if 0 %}x{% endif %}   ", "\n\n   {%- if 1 %} x{% endif %}",
]


def test_snippets(render, repo):
    lines = (repo / "tests" / "golden" / "template_snippets.txt").read_text("utf-8").split("\n")
    check([(line, VARS) for line in lines], render, refusals=True)


def test_whitespace_control(render):
    check([(s, VARS) for s in WHITESPACE], render)


# ---- random conversations ------------------------------------------------------------------------

PIECES = ["Hi", "<think>", "</think>", "\n", "\n\n", "<tool_response>", "</tool_response>", "<|im_end|>", "<|im_start|>", " ", "\r\n",
          "请问", "😀", "e\u0301", "{{ x }}", "USER: ", "\t", "\u2028", "\x00", "", "'", '"', "\\", "ﷺ", "a" * 50]


def content(r):
    kind = r.random()
    if kind < 0.86:
        return "".join(r.choice(PIECES) for _ in range(r.randint(0, 6)))
    return r.choice([None, 5, True, 2.5, [], [{"type": "text", "text": "Hi"}], {"a": "b'"}, ["x", "y"], ""])


def message(r):
    m = {"role": r.choice(["user", "user", "assistant", "assistant", "system", "tool", "developer", "function", "User", "", None]),
         "content": content(r)}
    if r.random() < 0.1:
        m["content"] = f"<tool_response>\n{m['content']}\n</tool_response>"
    if r.random() < 0.2:
        m["reasoning_content"] = content(r)
    if r.random() < 0.2:
        m["tool_calls"] = r.choice([None, [], [call(r)], [call(r), call(r)], "x", {}])
    if r.random() < 0.1:
        m[r.choice(["name", "tool_call_id", "items", "get", "extra"])] = content(r)
    for key in ("role", "content"):
        if r.random() < 0.02:
            del m[key]
    return m


def call(r):
    args = r.choice([{"place": "北京", "days": 2.5, "now": True, "x": None}, "{\"a\": 1}", {}, [], None, {"f": 1e-7, "g": 1e16, "n": -5, "s": "\u007f\u0001é</"},
                     {"nested": {"l": [[], {}, [1, [2]]]}}])
    inner = {"name": r.choice(["f", "get_weather", None, 5]), "arguments": args}
    if r.random() < 0.05:
        del inner["arguments"]
    return inner if r.random() < 0.4 else {"id": "c1", "type": "function", "function": inner}


def variables(r):
    v = {"messages": [message(r) for _ in range(r.choice([0, 1, 1, 2, 2, 3, 4, 5, 8]))]}
    if r.random() < 0.5:
        v.update({"tools": None, "documents": None, "add_generation_prompt": False})
    if r.random() < 0.4:
        v["add_generation_prompt"] = r.choice([True, False])
    if r.random() < 0.3:
        v["enable_thinking"] = r.choice([True, False, None, 0])
    if r.random() < 0.3:
        tool = {"type": "function", "function": {"name": "f", "description": content(r), "parameters": {"type": "object", "properties": {}}}}
        v["tools"] = r.choice([[], [tool], [tool, tool], None, ["x"]])
    return v


@pytest.mark.parametrize("which", TEMPLATES)
def test_random_conversations(render, shared, which):
    with open(shared / "model" / "templates" / TEMPLATES[which], encoding="utf-8", newline="") as f:
        source = f.read()
    r = random.Random(which)
    check([(source, variables(r)) for _ in range(1500)], render)
