"""integrations/grafana: every metric and label that dashboard and alert rules name is on the page of a server."""
import json
import pathlib
import re

import pytest
import yaml

from wire import CHAT, Server, chat_body

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "integrations" / "grafana"
OURS = r"(?:qwen3guard_|vllm:|process_)\w+"
SCRAPED = {"job", "instance", "le"}  # Prometheus adds two of them, and every histogram has the third


def texts(value):
    """Every string under the keys that hold PromQL."""
    if isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key in ("expr", "definition"):
                yield one
            else:
                yield from texts(one)


def expressions():
    board = json.loads((FOLDER / "dashboard.json").read_text())
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text())
    return [*texts(board), *texts(rules)]


@pytest.fixture(scope="module")
def metrics(fake_binary, tmp_path_factory):
    """name -> its labels."""
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text("version: 1\non_error: open\n")
    server = Server([str(fake_binary), "--policy", str(policy)])
    try:
        server.post(chat_body("bomb"), CHAT)
        server.post(chat_body("busy"), CHAT)
        server.post(json.dumps({"point": "app.moderation.input", "params": {"query": "busy"}}).encode(), "/dify")
        page = server.get("/metrics").body.decode()
    finally:
        assert server.stop() == 0
    found = {name: set() for name in re.findall(r"^# TYPE (\S+)", page, re.M)}
    histograms = set(re.findall(r"^# TYPE (\S+) histogram", page, re.M))
    for name, labels in re.findall(r"^([\w:]+)\{([^}]*)\}", page, re.M):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        found[base if base in histograms else name] |= set(re.findall(r'(\w+)="', labels))
    found["qwen3guard_refusals_total"].add("reason")  # not one of them is on this page
    return {**found, **{name + end: found[name] for name in histograms for end in ("_bucket", "_sum", "_count")}}


def test_every_metric_is_on_the_page(metrics):
    named = {name for text in expressions() for name in re.findall(OURS, text)}
    assert len(named) > 15 and named <= set(metrics), named - set(metrics)
    assert not {name for name in named if name + "_bucket" in metrics}, "a histogram is read by its _bucket"


def test_every_label_is_on_its_metric(metrics):
    for text in expressions():
        for name, matchers in re.findall(rf"({OURS})\{{([^}}]*)\}}", text):
            used = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', matchers))
            assert used <= metrics[name] | SCRAPED, (text, used)
        grouped = {word for by in re.findall(r"by \(([^)]*)\)", text) for word in re.split(r",\s*", by)}
        known = set().union(*(metrics[name] for name in re.findall(OURS, text)))
        assert grouped <= known | SCRAPED, text


def test_expressions_are_whole():
    for text in expressions():
        quiet = re.sub(r'"[^"]*"', "", text)
        for a, b in ("()", "{}", "[]"):
            assert quiet.count(a) == quiet.count(b), text


def test_alerts_cover_what_can_go_wrong():
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
    told = (FOLDER / "README.md").read_text()
    for rule in rules:
        assert f"`{rule['alert']}`" in told and rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]


def test_panels_do_not_overlap():
    seen = set()
    for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]:
        g = panel["gridPos"]
        cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        assert not cells & seen and g["x"] + g["w"] <= 24, panel["title"]
        seen |= cells


def test_promtool_takes_the_alert_rules():
    import shutil
    import subprocess
    if not shutil.which("promtool"):
        pytest.skip("promtool (Debian: prometheus) is not installed")
    path = pathlib.Path(__file__).resolve().parents[2] / "integrations/grafana/alerts.yaml"
    done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
