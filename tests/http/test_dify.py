"""POST /dify: Dify's moderation extension, with the bodies of its documentation."""
import pytest
from protocols import BLOCKED, FAILURES, MAYBE, ask, post

PASS = {"flagged": False, "action": "direct_output", "preset_response": "", "inputs": {}, "query": "", "text": ""}
BLOCK = {**PASS, "flagged": True, "preset_response": BLOCKED}


def call(server, point, params):
    return ask(server, "/dify", {"point": point, "params": params})


def test_ping(server):
    answer = post(server, "/dify", {"point": "ping", "params": {}})
    assert answer.status == 200 and answer.body == b'{"result":"pong"}'
    assert ask(server, "/dify", {"point": "ping"}) == {"result": "pong"}


@pytest.mark.parametrize("inputs, query, blocked", [
    ({"var": "x"}, "hi", False), ({}, "bomb", True), ({"var": "bomb"}, "hi", True),
    ({"var": "bomb"}, None, True), ({"n": 5, "list": ["bomb"], "var": ""}, "", False),
    ({}, None, False), ({"a": "x", "b": MAYBE}, "hi", True)])
def test_input(server, inputs, query, blocked):
    got = call(server, "app.moderation.input", {"app_id": "a", "inputs": inputs, "query": query})
    assert got == (BLOCK if blocked else PASS)


@pytest.mark.parametrize("text, blocked", [("fine", False), ("bomb", True), ("", False)])
def test_output(server, text, blocked):
    assert call(server, "app.moderation.output", {"app_id": "a", "text": text}) == (BLOCK if blocked else PASS)


@pytest.mark.parametrize("body", [
    {}, {"point": "app.external_data_tool.query", "params": {}}, {"point": "app.moderation.input"},
    {"point": "app.moderation.output", "params": {}}, {"point": "app.moderation.output", "params": {"text": None}},
    {"point": "app.moderation.input", "params": {"inputs": []}}])
def test_bad_requests(server, body):
    assert post(server, "/dify", body).status == 400


@pytest.mark.parametrize("text, status", FAILURES)
def test_failures_are_never_200(server, text, status):
    for point, params in (("app.moderation.input", {"inputs": {"x": text}, "query": "hi"}),
                          ("app.moderation.output", {"text": text})):
        assert post(server, "/dify", {"point": point, "params": params}).status == status


def test_key(serve):
    server = serve("--api-key", "secret")
    assert post(server, "/dify", {"point": "ping"}).status == 401
    assert post(server, "/dify", {"point": "ping"}, ["Authorization: Bearer secret"]).status == 200
