"""What a model calls is judged like what it says, wherever a client can send it."""
import json

import pytest
from protocols import ask, post, user

ESCAPED = json.dumps({"text": "bomb"}).replace("bomb", "\\u0062om\\u0062")
FUNCTION = {"name": "send", "arguments": json.dumps({"text": "bomb"})}


def calls(**function):
    return [{"id": "1", "type": "function", "function": function}]


HITS = {
    "arguments": {"content": None, "tool_calls": calls(**FUNCTION)},
    "without a content": {"tool_calls": calls(**FUNCTION)},
    "beside a text": {"content": "I will.", "tool_calls": calls(**FUNCTION)},
    "the second one": {"content": "", "tool_calls": calls(name="f", arguments="{}") + calls(**FUNCTION)},
    "the name": {"content": None, "tool_calls": calls(name="bomb", arguments="{}")},
    "escaped": {"content": None, "tool_calls": calls(name="f", arguments=ESCAPED)},
    "escaped twice": {"content": None, "tool_calls": calls(name="f", arguments=json.dumps(ESCAPED))},
    "as an object": {"content": None, "tool_calls": calls(name="f", arguments={"a": ["bomb"]})},
    "not JSON": {"content": None, "tool_calls": calls(name="f", arguments="{bomb")},
    "a key": {"content": None, "tool_calls": calls(name="f", arguments='{"bomb":1}')},
    "custom": {"content": None, "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "c", "input": "bomb"}}]},
    "not a list": {"content": None, "tool_calls": {"function": FUNCTION}},
    "the old form": {"content": None, "function_call": FUNCTION},
    "an odd call": {"content": None, "tool_calls": ["bomb"]},
}
PASSES = {"harmless": {"content": None, "tool_calls": calls(name="f", arguments="{}")},
          "none": {"content": "fine", "tool_calls": [], "function_call": None}}


def message(said):
    return {"role": "assistant", **said}


def talk(said):
    return user("hello") + [message(said)]


def chat(server, said):
    return ask(server, "/v1/chat/completions", {"messages": talk(said)})["choices"][0]["message"]["content"].startswith("Safety: Unsafe")


ROUTES = {
    "chat": chat,
    "guard": lambda s, m: ask(s, "/v1/guard", {"messages": talk(m)})["severity"] == "Unsafe",
    "classify": lambda s, m: ask(s, "/classify", {"messages": talk(m)})["data"][0]["label"] == "Unsafe",
    "fms": lambda s, m: ask(s, "/api/v1/text/chat", {"messages": talk(m), "tools": []}) != [],
    "lakera": lambda s, m: ask(s, "/v2/guard", {"messages": talk(m)})["flagged"],
    "webhook request": lambda s, m: "status_code" in ask(s, "/request", {"body": {"messages": talk(m)}})["action"],
    "webhook response": lambda s, m: "status_code" in ask(s, "/response", {"body": {"choices": [{"message": message(m)}]}})["action"],
    "llama stack": lambda s, m: ask(s, "/v1/safety/run-shield", {"messages": talk(m)})["violation"] is not None,
    "outlet": lambda s, m: "bomb" not in json.dumps(ask(s, "/qguard/filter/outlet", {"body": {"model": "m", "messages": talk(m)}})),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("said", HITS)
def test_hits(server, route, said):
    assert ROUTES[route](server, HITS[said])


@pytest.mark.parametrize("route", [route for route in ROUTES if route != "outlet"])
@pytest.mark.parametrize("said", PASSES)
def test_passes(server, route, said):
    assert not ROUTES[route](server, PASSES[said])


def test_outlet_gives_back_what_is_harmless(server):
    body = {"model": "m", "messages": talk(PASSES["harmless"])}
    assert ask(server, "/qguard/filter/outlet", {"body": body}) == body


def test_litellm_looks_at_names_too(server):
    path = "/beta/litellm_basic_guardrail_api"
    for said in ("arguments", "the name", "escaped", "custom", "an odd call"):
        body = {"input_type": "response", "texts": [], "tool_calls": HITS[said]["tool_calls"]}
        assert ask(server, path, body)["action"] == "BLOCKED", said
    assert ask(server, path, {"input_type": "response", "texts": [], "tool_calls": PASSES["harmless"]["tool_calls"]}) == {"action": "NONE"}


def test_rules_see_calls(serve, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\nrules: [{contains: rm -rf, severity: Unsafe, category: Violent, final: true}]\n")
    server = serve("--policy", policy)
    said = {"content": None, "tool_calls": calls(name="shell", arguments=json.dumps({"command": "rm -rf /"}))}
    assert ask(server, "/v1/guard", {"messages": talk(said)})["severity"] == "Unsafe"


def test_a_call_in_the_context_is_context(server):
    """after=WORD is unsafe only behind a message with WORD."""
    before = talk({"content": None, "tool_calls": calls(name="plan", arguments="{}")})
    for said, label in (("after=plan", "Unsafe"), ("after=other", "Safe")):
        assert ask(server, "/v1/guard", {"messages": before + user(said)})["severity"] == label


def test_a_message_that_is_no_object(server):
    assert post(server, "/response", {"body": {"choices": [{"message": "x"}]}}).status == 400
    assert post(server, "/response", {"body": {"choices": [{"message": {"role": "assistant"}}]}}).status == 400
