"""docs/openapi.yaml: every route of the table is in it and the reverse, and the server answers it as JSON."""
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

REPO = pathlib.Path(__file__).resolve().parents[2]
VERBS = ("get", "post", "delete", "put", "patch")
SHOWN = {"GET": {"get"}, "POST": {"post"}, "DELETE": {"delete"}, "ANY": {"get", "post"}, "EARLY": set()}


@pytest.fixture(scope="module")
def described(server):
    answer = server.get("/openapi.json")
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    return answer.json()


def table():
    """(path, verb) -> whether it asks for a key, of the table in routes.c."""
    text = (REPO / "src/serve/routes.c").read_text().split("} routes[] = {")[1].split("};")[0]
    rows = re.findall(r'\{([A-Z| ]+), "([^"]+)", (true|false), \w+\}', text)
    assert len(rows) == text.count("{")
    return {(path, verb): key == "true" for methods, path, key in rows
            for method in methods.split(" | ") for verb in SHOWN[method]}


def test_every_route_is_described_and_nothing_else(described):
    told = {}
    for path, item in described["paths"].items():
        for verb in VERBS:
            if verb in item:
                told[re.sub(r"\{\w+\}", "*", path), verb] = item[verb].get("security") != []
    assert told == table()


def test_json_is_the_yaml(described):
    """tools/openapi reads a part of YAML: it must read it as everybody does."""
    assert described == yaml.safe_load((REPO / "docs/openapi.yaml").read_text())
    version = re.search(r"version: '([^']+)'", (REPO / "meson.build").read_text())[1]
    assert described["info"]["version"] == version


def walk(value):
    yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(one)


def test_references_and_operations(described):
    for one in walk(described):
        if isinstance(one, dict) and "$ref" in one:
            at = described
            for word in one["$ref"].removeprefix("#/").split("/"):
                at = at[word]
    operations = [item[verb] for item in described["paths"].values() for verb in VERBS if verb in item]
    assert len({o["operationId"] for o in operations}) == len(operations)
    tags = {tag["name"] for tag in described["tags"]}
    for o in operations:
        assert o["summary"] and set(o["tags"]) <= tags and "4XX" in o["responses"]


def test_needs_no_key_and_may_be_read_by_pages(serve):
    server = serve("--api-key", "secret")
    assert server.get("/openapi.json").status == 200
    assert server.post(b"{}", "/openapi.json").status == 405


@pytest.mark.parametrize("text, line", [
    ("a: 1\na: 2\n", 2), ("a: {b: 1\n", 1), ("a: *b\n", 1), ("a: |\n  b\n", 1), ("a: 1\n  b: 2\n", 2), ("a: 'b'\n", 1),
    ("- a\nb: 1\n", 2), ("a: [1] 2\n", 1)])
def test_other_yaml_is_an_error_with_its_line(tmp_path, text, line):
    (tmp_path / "in.yaml").write_text(text)
    done = subprocess.run([sys.executable, REPO / "tools/openapi", tmp_path / "in.yaml", tmp_path / "out.json"],
                          capture_output=True, text=True)
    assert done.returncode == 1 and f"line {line}" in done.stderr and "Traceback" not in done.stderr
