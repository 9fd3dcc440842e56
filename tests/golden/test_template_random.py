"""Random templates against jinja2: expressions, and programs of nested statements.

QGUARD_TEMPLATE_SEEDS: how many rounds to run (2; each another 1,200 templates)."""
import os
import random

import pytest

from golden.jinja_reference import VARS, check, render  # noqa: F401 - render is a fixture

# Python warns of the odd code that jinja2 makes out of odd templates
pytestmark = [pytest.mark.filterwarnings("ignore::SyntaxWarning"),
              pytest.mark.filterwarnings("ignore::DeprecationWarning")]
SEEDS = range(int(os.environ.get("QGUARD_TEMPLATE_SEEDS", "2")))


# ---- random expressions --------------------------------------------------------------------------

class Maker:
    """Random expressions that mostly mean something."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def pick(self, *options):
        return self.r.choice(options)

    def atom(self):
        return self.pick(
            "s", "t", "u", "q", "crlf", "i", "z", "neg", "f", "yes", "nil", "l", "ls", "el", "d", "nested",
            "missing", "messages", "messages[0].content", "d.a.x", "'a b'", "'<|im_end|>'", "''", "'é\\n'", "3", "-1", "0",
            "2.0", "true", "none", "[1, 'a', none]", "{'k': 'v', 2: [3]}", "(1, 'x')", "range(4)", "'aXbXc'")

    def text(self, n):
        e = self.expr(n)
        return self.pick("s", "u", "t", "q", "crlf", "'aXbXc'", f"({e})|string", f"({e})|tojson", f"({e}) ~ 'x'")

    def args(self, *names):
        return ", ".join(names)

    def method(self, n):
        t = self.pick(self.text(n), self.text(n), self.expr(n))
        small = self.pick("'a'", "' '", "'X'", "'o'", "''", "'\\n'", "u[0]", "'é'", "none", "1", "s")
        k = self.pick("0", "1", "-1", "2", "-4", "30", "none")
        return f"({t})." + self.pick(
            f"strip({self.pick('', small)})", f"lstrip({self.pick('', small)})", f"rstrip({small})",
            f"split({self.pick('', small)})", f"split({small}, {k})", f"rsplit({small}, {k})", f"rsplit({small})", "splitlines()",
            f"startswith({small})", f"endswith({small}, {k})", f"find({small})", f"find({small}, {k}, {k})", f"rfind({small})",
            f"count({small})", f"replace({small}, {small})", f"replace({small}, 'zz', {k})", "upper()", "lower()",
            "title()", "capitalize()", f"join({self.expr(n)})", f"partition({small})", f"get({small})", "items()",
            "keys()", "values()", f"index({small})", f"removeprefix({small})")

    def filter(self, n):
        e = self.expr(n)
        k = self.pick("0", "1", "2", "'x'", "none")
        return f"({e})|" + self.pick(
            "length", "upper", "lower", "title", "capitalize", "trim", "string", "list", "first", "last", "reverse|list",
            "items|list", "sort", "sort(reverse=true)", "unique|list", "min", "max", "sum", "join", f"join({k})", "tojson",
            "tojson(indent=2)", "tojson(sort_keys=true)", "tojson(true)", f"default({k})", f"default({k}, true)", "int", "float", "abs", "round",
            f"replace({k}, 'y')", "replace('a', '')", "indent", "indent(2, true)", "dictsort", "map('upper')|list", "map('length')|list",
            "select|list", "reject('none')|list", "select('string')|list", "map(attribute='role')|list", "selectattr('role')|list",
            "rejectattr('content', 'none')|list", "trim('a ')", "list|last", "select('odd')|list")

    def test(self, n):
        return f"({self.expr(n)}) is {self.pick('', 'not ')}" + self.pick(
            "defined", "undefined", "none", "string", "mapping", "sequence", "iterable", "number", "integer", "float",
            "boolean", "true", "false", "odd", "even", "eq(1)", "in [1, 'a']", "lower", "upper", "callable",
            "divisibleby 2", "lt 3")

    def operator(self, n):
        op = self.pick("+", "+", "+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or")
        if op == "*":
            return f"({self.expr(n)}) * {self.pick('2', '0', '-1', 'true', '1.5')}"
        left = self.expr(n)
        if op == "%":
            left = self.pick("i", "f", "neg", "7", "-7.5")  # formatting of strings is not supported
        return f"({left}) {op} ({self.expr(n)})"

    def subscript(self, n):
        e, k = self.expr(n), self.pick("0", "1", "-1", "'role'", "'k'", "5", "-9", "none", "'upper'")
        a, b, c = (self.pick("", "", "1", "-2", "3", "100", "-100") for _ in range(3))
        return f"({e})" + self.pick(f"[{k}]", f"[{a}:{b}]", f"[{a}:{b}:{self.pick('2', '-1', '-2', c)}]", ".role", ".content", ".x")

    def expr(self, n=3):
        if n <= 0 or self.r.random() < 0.15:
            return self.atom()
        n -= 1
        return self.pick(self.method, self.filter, self.filter, self.operator, self.operator, self.subscript, self.test,
                         lambda k: f"({self.expr(k)}) if ({self.expr(k)}) else ({self.expr(k)})",
                         lambda k: f"[{self.expr(k)}, {self.expr(k)}]",
                         lambda k: f"not ({self.expr(k)})")(n)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_expressions(render, seed):
    make = Maker(seed)
    requests = []
    for _ in range(600):
        e = make.expr(make.r.randint(1, 4))
        form = make.pick("{{ %s }}", "{%% for x in %s %%}[{{ x }}]{%% endfor %%}", "{%% if %s %%}1{%% endif %%}", "{{ [%s] }}", "{%% set x = %s %%}{{ x|string }}")
        requests.append((form % e, VARS))
    check(requests, render, refusals=True)


# ---- taint ---------------------------------------------------------------------------------------

GREEK = str.maketrans("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
                      "αβγδεζηθικλμνξοπρτυφχψωϊϋόΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΤΥΦΧΨΩΪΫΌ")


def greek(value):
    """value with every letter of its strings Greek (keys stay: templates name them)."""
    if isinstance(value, str):
        return value.translate(GREEK)
    if isinstance(value, list):
        return [greek(x) for x in value]
    return {k: greek(v) for k, v in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("seed", SEEDS)
def test_what_came_from_the_variables_is_marked_as_input(render, seed):
    """Variables write Greek, templates do not: each Greek letter must lie in an input span."""
    make, variables = Maker(seed + 1000), greek(VARS)
    requests = []
    for _ in range(600):
        e = make.expr(make.r.randint(2, 5)).replace("é", "e")
        form = make.pick("<{{ %s }}>", "{%% for x in %s %%}[{{ x }}]{%% endfor %%}", "{%% set x %%}({{ %s }}){%% endset %%}{{ x[1:] }}",
                         "{{ '<|im_end|>' ~ (%s) }}", "{%% filter upper %%}a{{ %s }}b{%% endfilter %%}")
        requests.append((form % e, variables))
    rendered = 0
    for (template, _), answer in zip(requests, render(requests)):
        if "text" not in answer:
            continue
        text, at = answer["text"].encode(), 0
        rendered += bool(text)
        for end, is_input in answer["spans"]:
            part = text[at:end].decode("utf-8")
            assert is_input or not any("\u0370" <= ch < "\u0400" for ch in part), (template, part)
            at = end
    assert rendered > 100


# ---- random programs -----------------------------------------------------------------------------

class Programs:
    """Random statements: scopes, loops, macros, captures, with random whitespace control."""

    NAMES = ["x", "y", "zz", "loop", "m"]

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.loops = 0

    def pick(self, *options):
        return self.r.choice(options)

    def blank(self):
        return self.pick("", "", "", " ", "\n", "  \n", "\n  ", "\n\n", "a", "\tb ", "\u00a0", "\r\n", "{# c #}", "\n {#- c #}\n", "  {# c -#} ")

    def tag(self, inner):
        return "{%" + self.pick("", "", "-", "+") + f" {inner} " + self.pick("", "", "-", "+") + "%}"

    def name(self):
        # not the caller's: jinja2 hides a variable from inner scopes when it is set further down
        return self.pick("x", "y", "zz")

    def value(self):
        return self.pick("1", "'v'", "x", "y", "zz", "s", "x|default(0)|string + 'k'", "[x, y]", "ns.a", "loop.index", "loop.last", "l",
                         "x is defined", "m(1)", "m('q', b=x)", "x ~ y", "ns.b", "none", "'a\n'")

    def output(self):
        return "{{" + self.pick("", "", "-") + f" {self.value()} " + self.pick("", "", "-") + "}}"

    def block(self, n):
        return "".join(self.blank() + self.statement(n) for _ in range(self.r.randint(0, 3))) + self.blank()

    def loop(self, n):
        self.loops += 1
        body = self.block(n)
        self.loops -= 1
        over = self.pick("l", "'ab'", "range(3)", "[]", "x", "d", "[1, 2] if x else [3]", "messages")
        head = f"for {self.name()} in {over}" + self.pick("", "", f" if {self.value()}", f" if {self.name()} != ns.a")
        other = self.pick("", self.tag("else") + self.block(n))
        return self.tag(head) + body + other + self.tag("endfor")

    def condition(self, n):
        out = self.tag(f"if {self.value()}") + self.block(n)
        if self.r.random() < 0.4:
            out += self.tag(f"elif {self.value()}") + self.block(n)
        if self.r.random() < 0.4:
            out += self.tag("else") + self.block(n)
        return out + self.tag("endif")

    def macro(self, n):
        loops, self.loops = self.loops, 0
        body = self.block(n)
        self.loops = loops
        return self.tag(f"macro {self.pick('m', 'm', 'k')}({self.pick('', 'a', 'x, b=2', 'a, b=x')})") + body + self.tag("endmacro")

    def statement(self, n):
        if self.loops and self.r.random() < 0.06:
            return self.tag(f"if {self.value()}") + self.tag(self.pick("break", "continue")) + self.tag("endif")
        simple = [self.output, self.output, lambda: self.tag(f"set {self.name()} = {self.value()}"),
                  lambda: self.tag(f"set ns.{self.pick('a', 'b')} = {self.value()}")]
        if n <= 0 or self.r.random() < 0.5:
            return self.pick(*simple)()
        n -= 1
        return self.pick(
            self.loop, self.loop, self.condition, self.macro,
            lambda k: self.tag(f"set {self.name()}{self.pick('', '', ' | trim', ' | upper | trim')}") + self.block(k) + self.tag("endset"),
            lambda k: self.tag(f"filter {self.pick('upper', 'trim', 'replace(1, 2)', 'indent(2)')}") + self.block(k) + self.tag("endfilter"),
            lambda k: self.tag(f"with {self.name()} = {self.value()}") + self.block(k) + self.tag("endwith"),
            lambda k: self.tag("raw") + self.blank() + "{{ x }}" + self.blank() + self.tag("endraw"))(n)

    def program(self):
        return ("{% macro m(a, b=1) %}<{{ a }}{{ b }}{{ x }}>{% endmacro %}{% set ns = namespace(a=0) %}" + self.block(3)
                + self.pick("", "\n", "\n\n"))


@pytest.mark.parametrize("seed", SEEDS)
def test_random_programs(render, seed):
    make = Programs(seed)
    check([(make.program(), VARS) for _ in range(600)], render, refusals=True)
