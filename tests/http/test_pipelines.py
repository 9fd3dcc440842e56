"""A Pipelines server for Open WebUI: cards, inlet, outlet; what came in goes out unchanged."""
import json

import pytest
from protocols import BLOCKED, FAILURES, ask, post, reply, user

WHO = {"id": "1", "email": "a@b", "name": "N", "role": "user"}
ODD = {"chat_id": "c", "metadata": {"big": 9007199254740993, "x": 0.1234567890123456, "deep": [None, {"é": "😀"}]},
       "temperature": 1e-20, "stream": True}


def filtered(server, way, body, prefix=""):
    return post(server, f"{prefix}/qguard/filter/{way}", {"user": WHO, "body": body})


def test_cards(server):
    got = server.get("/models").json()
    card = got["data"][0]
    assert got["pipelines"] is True and card["id"] == "qguard"
    assert card["pipeline"] == {"type": "filter", "pipelines": ["*"], "priority": 0, "valves": False}
    assert "pipelines" not in server.get("/v1/models").json()
    assert server.get("/pipelines").json()["data"][0]["id"] == "qguard"
    assert server.get("/qguard/valves").json() == {}
    assert server.get("/v1/qguard/valves/spec").json()["type"] == "object"
    assert post(server, "/qguard/valves/update", {}).json() == {}
    answer = post(server, "/pipelines/add", {"url": "x"})
    assert answer.status == 501 and "detail" in answer.json()


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("way, messages", [("inlet", user("hi")), ("outlet", reply("fine")),
                                           ("outlet", reply(None)), ("inlet", [])])
def test_unknown_keys_survive(server, prefix, way, messages):
    body = {"model": "llama", "messages": messages, **ODD}
    answer = filtered(server, way, body, prefix)
    assert answer.status == 200 and answer.json() == body
    assert list(answer.json()) == list(body)
    assert "9007199254740993" in answer.body.decode()


def test_inlet_block(server):
    answer = filtered(server, "inlet", {"model": "llama", "messages": user("bomb")})
    assert answer.status == 403 and answer.json() == {"detail": "Blocked: Violent"}
    assert answer.reason == "Blocked: Violent"  # what people see
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"


def test_inlet_judges_the_last_user_message(server):
    messages = user("bomb") + [{"role": "assistant", "content": "no"}] + user("hi")
    assert filtered(server, "inlet", {"model": "m", "messages": messages}).status == 200
    messages = user("hi") + user("bomb") + [{"role": "assistant", "content": "half"}]
    assert filtered(server, "inlet", {"model": "m", "messages": messages}).status == 403


def test_outlet_replaces(server):
    body = {"model": "llama", "messages": reply("bomb"), **ODD}
    body["messages"][1]["output"] = [{"type": "message", "content": [{"type": "output_text", "text": "bomb"}]}]
    answer = filtered(server, "outlet", body)
    assert answer.status == 200
    got = answer.json()
    assert got["messages"][1]["content"] == BLOCKED
    assert got["messages"][1]["output"][0]["content"][0] == {"type": "output_text", "text": BLOCKED}
    assert got["messages"][0] == body["messages"][0]
    assert {k: got[k] for k in ODD} == ODD


def test_our_own_model_is_left_alone(server):
    assert filtered(server, "inlet", {"model": "fake-guard", "messages": user("bomb")}).status == 200
    body = {"model": "fake-guard", "messages": reply("bomb")}
    assert filtered(server, "outlet", body).json() == body


@pytest.mark.parametrize("text, status", FAILURES)
def test_failures(server, text, status):
    answer = filtered(server, "inlet", {"model": "m", "messages": user(text)})
    assert answer.status == status and list(answer.json()) == ["detail"]


@pytest.mark.parametrize("body", [{}, {"body": None}, {"body": []}, {"body": {"messages": user(5)}},
                                  {"body": {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}}])
def test_bad_requests(server, body):
    answer = post(server, "/qguard/filter/inlet", body)
    assert answer.status == 400 and isinstance(answer.json()["detail"], str)


def test_empty_key_is_not_a_key(serve):
    server = serve("--api-key", "k")
    assert server.get("/models").status == 401
    assert server.get("/models", headers=["Authorization: Bearer k"]).status == 200
    assert json.loads(server.get("/models", headers=["Authorization: Bearer "]).body)["error"]["code"] == "invalid_api_key"
