"""GET /v1/models over all upstreams; and what becomes of a prompt whose client has left."""
import json
import threading
import time

import pytest
from scripted import saying
from wire import request


def listing(*names, wait=0.0, **more):
    def script(conn, asked):
        assert asked.method == "GET" and asked.path == "/v1/models"
        time.sleep(wait)
        conn.whole(json.dumps({"object": "list", "data": [
            {"id": name, "object": "model", "owned_by": "x", **more} for name in names]}))
    return script


def ids(answer):
    assert answer.status == 200, answer.body
    assert answer.json()["object"] == "list"
    return [model["id"] for model in answer.json()["data"]]


def test_each_model_once_by_whom_it_is_served(upstream, gateway):
    a, b, c = upstream(listing("m1", "m2", "gpt-4", n=1)), upstream(listing("gpt-4", "gpt-5", n=2)), \
        upstream(listing("gpt-4", "odd", n=3))
    g = gateway(a, f"gpt-*={b.url}", f"gpt-5={c.url}")
    answer = g.get("/v1/models")
    assert ids(answer) == ["m1", "m2", "gpt-4"]
    assert [m["n"] for m in answer.json()["data"]] == [1, 1, 2]


def test_an_upstream_that_is_down_costs_only_its_models(upstream, gateway):
    good, ill = upstream(listing("m1")), upstream(lambda conn, r: conn.whole("{}", status="500 No"))
    odd = upstream(lambda conn, r: conn.whole("[1,2"))
    g = gateway(ill, "http://127.0.0.1:9/v1", odd, good)
    assert ids(g.get("/v1/models")) == ["m1"]
    answer = gateway("http://127.0.0.1:9/v1", ill).get("/v1/models")
    assert answer.status == 502 and answer.error["code"] == "upstream_error"


def test_the_list_is_kept_and_made_once(upstream, gateway):
    up = upstream(listing("m1", wait=0.3))
    g = gateway(up)
    got = []
    threads = [threading.Thread(target=lambda: got.append(ids(g.get("/v1/models")))) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got == [["m1"]] * 20 and ids(g.get("/v1/models")) == ["m1"]
    assert len(up.requests) == 1


def test_clients_keys_get_lists_of_their_own(upstream, gateway):
    def script(conn, asked):
        conn.whole(json.dumps({"data": [{"id": asked.headers["authorization"][7:]}]}))
    up = upstream(script)
    g = gateway(up)
    for key in ("ann", "bob", "ann"):
        assert ids(g.get("/v1/models", headers=[f"Authorization: Bearer {key}"])) == [key]
    assert len(up.requests) == 3
    g = gateway(up, api_key="mine", upstream_key="theirs")
    assert g.get("/v1/models").status == 401
    for _ in range(3):
        assert ids(g.get("/v1/models", headers=["Authorization: Bearer mine"])) == ["theirs"]
    assert len(up.requests) == 4 and up.requests[-1].headers["x-api-key"] == "theirs"


def test_a_client_that_leaves_spoils_nothing(upstream, gateway):
    up = upstream(listing("m1", wait=0.3))
    g = gateway(up)
    for _ in range(3):
        with g.open() as raw:
            raw.send(request("GET", "/v1/models"))
    assert ids(g.get("/v1/models")) == ["m1"]


def test_a_stop_meanwhile(upstream, gateway):
    g = gateway(upstream(listing("m1", wait=3)), drain_ms=200)
    threads = [threading.Thread(target=lambda: g.open().send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"))
               for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    time.sleep(0.1)
    assert g.stop() == 0


# ---- the prompt of a client that has left --------------------------------------------------------

@pytest.mark.parametrize("words", ["sleep=20000", "submit=400 sleep=20000"])
@pytest.mark.parametrize("when", ["before", "beside"])
def test_the_gen_job_of_a_client_that_left_ends(upstream, gateway, words, when):
    up = upstream(saying("Hello"))
    g = gateway(up, gen_model="fake-guard", judge_ms=30000, policy=f"judge_prompt: {when}\n")
    raw = g.open_stream(words)
    g.wait_metric(1, "qguard_gateway_streams")
    if "submit" not in words:
        g.wait_metric(1, "qguard_gateway_gen_jobs")
    raw.close()
    begun = time.monotonic()
    g.wait_metric(0, "qguard_gateway_streams")
    g.wait_metric(0, "qguard_gateway_gen_jobs", seconds=5)
    assert time.monotonic() - begun < 10
    g.wait_metric(1, "qguard_gateway_outcomes_total", outcome="gone")
    assert g.ask("and the next").status == 200
