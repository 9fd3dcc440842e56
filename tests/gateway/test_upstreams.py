"""Upstreams from a file: who answers for what, with which key, in which order; and the file anew."""
import json
import os
import signal
import ssl
import subprocess
import threading
import time

import pytest
from scripted import saying, text_of


def written(path, *rows, text=None):
    """The file: rows are dicts, as JSON, which is YAML."""
    path.write_text(text if text is not None else
                    json.dumps({"version": 1, "upstreams": list(rows)}))
    return path


def tls_of(folder, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def hup(g, line):
    seen = sum(line in one for one in g.lines)
    os.kill(g.process.pid, signal.SIGHUP)
    end = time.monotonic() + 10
    while sum(line in one for one in g.lines) == seen and time.monotonic() < end:
        time.sleep(0.02)
    assert sum(line in one for one in g.lines) > seen, g.lines


def test_models_keys_and_paths(upstream, gateway, tmp_path, monkeypatch):
    one, two, rest = (upstream(saying(word)) for word in ("one", "two", "rest"))
    monkeypatch.setenv("QG_TEST_KEY", "from-env")
    (tmp_path / "key").write_text("from-file\n")
    g = gateway(upstreams=written(
        tmp_path / "up.yaml",
        {"url": one.url + "/", "models": ["m1", "a*"], "key_env": "QG_TEST_KEY"},
        {"url": two.url, "models": "a-very*", "key_file": str(tmp_path / "key")},
        {"url": rest.url}))
    said = {m: text_of(g.ask(model=m)) for m in ("m1", "a-b", "a-very-b", "other")}
    assert said == {"m1": "one", "a-b": "one", "a-very-b": "two", "other": "rest"}
    assert {r.headers["authorization"] for r in one.requests} == {"Bearer from-env"}
    assert {r.headers["authorization"] for r in two.requests} == {"Bearer from-file"}
    assert "authorization" not in rest.requests[0].headers
    assert "from-env" not in "".join(g.lines) and "from-file" not in "".join(g.lines)


def test_no_upstream_for_the_model(upstream, gateway, tmp_path):
    up = upstream(saying("x"))
    g = gateway(upstreams=written(tmp_path / "up.yaml", {"url": up.url, "models": ["m1"]}))
    answer = g.ask(model="m2")
    assert answer.status == 404 and answer.error["code"] == "model_not_found"
    assert not up.requests


def test_order_is_for_failures(upstream, gateway, tmp_path):
    def broken(conn, asked):
        conn.whole('{"error":{"message":"no"}}', status="503 No")
    first, second = upstream(broken), upstream(saying("second"))
    g = gateway(upstreams=written(tmp_path / "up.yaml", {"url": second.url, "order": 2},
                                  {"url": first.url, "order": 1}))
    assert text_of(g.ask()) == "second" and len(first.requests) == 1
    assert text_of(g.ask()) == "second"  # the first is left out for a second
    assert len([r for r in first.requests if r.method == "POST"]) == 1


def test_order_keeps_the_second_idle(upstream, gateway, tmp_path):
    first, second = upstream(saying("first")), upstream(saying("second"))
    g = gateway(upstreams=written(tmp_path / "up.yaml", {"url": second.url, "order": 7},
                                  {"url": first.url}))
    assert {text_of(g.ask()) for _ in range(6)} == {"first"} and not second.requests


def test_weight_shares(upstream, gateway, tmp_path):
    heavy, light = upstream(saying("heavy")), upstream(saying("light"))
    g = gateway(upstreams=written(tmp_path / "up.yaml", {"url": heavy.url, "weight": 3},
                                  {"url": light.url}))
    said = [text_of(g.ask()) for _ in range(8)]
    assert said.count("heavy") == 6 and said.count("light") == 2, said


def test_running_requests_finish_on_the_old_ones(upstream, gateway, tmp_path):
    go = threading.Event()

    def slow(conn, asked):
        conn.head()
        conn.delta("old, ")
        go.wait(20)
        conn.delta("to its end")
        conn.delta(None, finish="stop")
        conn.end()
    old, new = upstream(slow), upstream(saying("new"))
    path = written(tmp_path / "up.yaml", {"url": old.url})
    g = gateway(upstreams=path)
    raw = g.open_stream()
    while not old.requests:
        time.sleep(0.01)
    written(path, {"url": new.url})
    hup(g, "upstreams reloaded (1)")
    assert text_of(g.ask()) == "new"
    go.set()
    assert text_of(raw.answer()) == "old, to its end"
    written(path, text="version: 1\nupstreams:\n  - url: ftp://x\n")
    hup(g, "upstreams not reloaded, the old ones stay")
    assert text_of(g.ask()) == "new"


def test_a_key_file_is_read_again(upstream, gateway, tmp_path):
    up, key = upstream(saying("x")), tmp_path / "key"
    key.write_text("first")
    g = gateway(upstreams=written(tmp_path / "up.yaml", {"url": up.url, "key_file": str(key)}))
    g.ask()
    key.write_text("second")
    hup(g, "upstreams reloaded (1)")
    g.ask()
    assert [r.headers["authorization"] for r in up.requests] == ["Bearer first", "Bearer second"]


def test_one_that_is_left_out_stays_out(upstream, gateway, tmp_path):
    """A new file is no proof of health: what failed a moment ago is not asked first."""
    bad, good = upstream(lambda conn, r: conn.whole("{}", status="500 No")), upstream(saying("good"))
    path = written(tmp_path / "up.yaml", {"url": bad.url}, {"url": good.url, "order": 2})
    g = gateway(upstreams=path)
    assert text_of(g.ask()) == "good"
    hup(g, "upstreams reloaded (2)")
    posts = len([r for r in bad.requests if r.method == "POST"])
    assert text_of(g.ask()) == "good"
    assert len([r for r in bad.requests if r.method == "POST"]) == posts == 1


HEAD = "version: 1\nupstreams:\n"


@pytest.mark.parametrize("text,says", [
    ("", "line 1: the file is empty"),
    ("upstreams: [{url: http://x/v1}]\n", "line 1: version: 1 is missing"),
    ("version: 1\n", "line 1: upstreams is missing"),
    ("version: 2\nupstreams: [{url: http://x/v1}]\n", "line 1: version: version 2 is not known"),
    (HEAD + "  - models: [m]\n", "line 3: upstreams[0]: url is missing"),
    (HEAD + "  - url: http://x/v1\n  - url: x\n", "line 4: upstreams[1].url: "),
    (HEAD + "  - url: http://u:p@x/v1\n", "line 3: upstreams[0].url: "),
    (HEAD + "  - url: http://x/v1?a=b\n", "line 3: upstreams[0].url: an upstream's URL has no query"),
    (HEAD + "  - {url: http://x/v1, key: secret}\n", "line 3: upstreams[0].key: unknown key; known "
     "here: url, models, key_env, key_file, ca_file, order, weight"),
    (HEAD + "  - url: http://x/v1\n    key_env: QG_NOT_THERE\n",
     "line 4: upstreams[0].key_env: the variable QG_NOT_THERE is not set"),
    (HEAD + "  - url: http://x/v1\n    key_file: /nowhere/key\n", "line 4: upstreams[0].key_file: "),
    (HEAD + "  - url: http://x/v1\n    ca_file: /nowhere/ca\n", "line 4: upstreams[0].ca_file: "),
    (HEAD + "  - url: http://x/v1\n    key_env: QG_SET\n    key_file: FILE\n",
     "line 5: upstreams[0].key_file: key_env and key_file: one of them"),
    (HEAD + "  - url: http://x/v1\n    models: ['a*b']\n", "line 4: upstreams[0].models: '*'"),
    (HEAD + "  - url: http://x/v1\n    weight: 0\n", "line 4: upstreams[0].weight: expected 1 to"),
    (HEAD + "  - url: http://x/v1\n    order: 1.5\n", "line 4: upstreams[0].order: expected a whole"),
    (HEAD + "  - url: http://x/v1\n    url: http://y/v1\n", "line 4: upstreams[0].url: given twice"),
    (HEAD + "  - [\n", "line "),
    (HEAD, "line 2: upstreams: expected a list of upstreams"),
])
def test_mistakes_are_named(fake_gateway_binary, tmp_path, monkeypatch, text, says):

    monkeypatch.setenv("QG_SET", "k")
    (tmp_path / "key").write_text("k")
    path = written(tmp_path / "up.yaml", text=text.replace("FILE", str(tmp_path / "key")))
    run = subprocess.run([fake_gateway_binary, "--upstreams", path], capture_output=True, text=True,
                         timeout=60)
    assert run.returncode == 1
    assert f"{path}: {says}" in run.stderr and "secret" not in run.stderr, run.stderr


def test_too_many(fake_gateway_binary, tmp_path):

    path = written(tmp_path / "up.yaml", *({"url": f"http://127.0.0.1:{i}/v1"} for i in range(1, 66)))
    run = subprocess.run([fake_gateway_binary, "--upstreams", path], capture_output=True, text=True,
                         timeout=60)
    assert run.returncode == 1 and "65 upstreams; 1 to 64 are allowed" in run.stderr


def test_authorities_of_its_own(upstream, gateway, tmp_path):
    """Two https servers, each with its own authority: neither is trusted by the other's file."""
    for name in ("one", "two"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key", "-out",
                        f"{name}.pem", "-subj", "/CN=localhost", "-days", "2", "-addext",
                        "subjectAltName=DNS:localhost"], cwd=tmp_path, check=True, capture_output=True)
    ups = {name: upstream(saying(name), tls_of(tmp_path, name)) for name in ("one", "two")}
    urls = {name: f"https://localhost:{up.port}/v1" for name, up in ups.items()}
    g = gateway(upstreams=written(
        tmp_path / "up.yaml",
        {"url": urls["one"], "models": "one", "ca_file": str(tmp_path / "one.pem")},
        {"url": urls["two"], "models": "two", "ca_file": str(tmp_path / "two.pem")},
        {"url": urls["two"], "models": "wrong", "ca_file": str(tmp_path / "one.pem")}))
    assert [text_of(g.ask(model=name)) for name in ("one", "two", "one")] == ["one", "two", "one"]
    assert g.ask(model="wrong").status == 502
    assert g.metric("qguard_gateway_upstream_errors_total", cause="tls") == 1
