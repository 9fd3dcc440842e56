"""POST /beta/litellm_basic_guardrail_api: LiteLLM's generic guardrail."""
import pytest
from protocols import FAILURES, MAYBE, ask, post, user

PATH = "/beta/litellm_basic_guardrail_api"
PASS = {"action": "NONE"}


def body(kind, texts, messages=None, call="c-1", **more):
    """As CONTRACTS 5.1 shows it, nulls and all."""
    return {"input_type": kind, "litellm_call_id": call, "litellm_trace_id": "t-1", "model": "gpt-x",
            "texts": texts, "structured_messages": messages, "images": None, "tools": None,
            "tool_calls": None, "request_data": {"user_api_key_hash": "h", "user_api_key_alias": None},
            "request_headers": {"user-agent": "x", "authorization": "[present]"},
            "litellm_version": "1.x", "additional_provider_specific_params": {}, **more}


def test_request(server):
    assert ask(server, PATH, body("request", ["hi"], user("hi"))) == PASS  # no texts: they would replace
    got = ask(server, PATH, body("request", ["bomb"], user("bomb")))
    assert got == {"action": "BLOCKED", "blocked_reason": "Unsafe: Violent"}
    assert ask(server, PATH, body("request", ["hi", "bomb"]))["action"] == "BLOCKED"
    parts = [{"role": "user", "content": [{"type": "text", "text": "bomb"}]}]
    assert ask(server, PATH, body("request", ["bomb"], parts))["action"] == "BLOCKED"
    # what the user said last is the prompt, whatever stands behind it
    later = user("bomb") + [{"role": "tool", "content": "x", "tool_call_id": "1"}]
    assert ask(server, PATH, body("request", ["bomb", "x"], later))["action"] == "BLOCKED"


def test_response(server):
    assert ask(server, PATH, body("response", ["fine"], call="new")) == PASS
    assert ask(server, PATH, body("response", ["bomb"], call="new"))["action"] == "BLOCKED"
    assert ask(server, PATH, body("response", ["fine", "bomb"], call="new"))["action"] == "BLOCKED"
    assert ask(server, PATH, body("response", [], call="new")) == PASS
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":\"bomb\"}"}}]
    assert ask(server, PATH, body("response", [], tool_calls=calls))["action"] == "BLOCKED"


def test_a_reply_is_judged_behind_its_prompt(server):
    """after=WORD is unsafe only behind a message with WORD."""
    ask(server, PATH, body("request", ["x"], user("the plan"), call="pair"))
    assert ask(server, PATH, body("response", ["after=plan"], call="pair"))["action"] == "BLOCKED"
    assert ask(server, PATH, body("response", ["after=plan"], call="other")) == PASS
    ask(server, PATH, body("request", ["x"], user("nothing"), call="pair"))  # the newest counts
    assert ask(server, PATH, body("response", ["after=plan"], call="pair")) == PASS
    for i in range(2000):
        ask(server, PATH, body("request", ["x"], user("the plan"), call=f"many-{i}"))
    assert ask(server, PATH, body("response", ["after=plan"], call="many-0"))["action"] == "BLOCKED"


def test_calls_of_another_key_are_not_seen(serve):
    server = serve("--api-key", "a", "--api-key", "b")
    for key in ("a", "b"):
        head = [f"x-api-key: {key}"]
        said = "plan" if key == "a" else "hi"
        assert ask(server, PATH, body("request", ["hi"], user(said)), head) == PASS
    assert ask(server, PATH, body("response", ["after=plan"]), ["x-api-key: a"])["action"] == "BLOCKED"
    assert ask(server, PATH, body("response", ["after=plan"]), ["x-api-key: b"]) == PASS
    assert post(server, PATH, body("response", ["x"])).status == 401


def test_strict_and_loose(server):
    loose = {"additional_provider_specific_params": {"policy": "loose"}}
    assert ask(server, PATH, body("request", [MAYBE], user(MAYBE)))["action"] == "BLOCKED"
    assert ask(server, PATH, body("request", [MAYBE], user(MAYBE), **loose)) == PASS
    bad = {"additional_provider_specific_params": {"policy": "lax"}}
    assert post(server, PATH, body("request", ["hi"], **bad)).status == 400


@pytest.mark.parametrize("change", [{"input_type": "both"}, {"input_type": None}, {"texts": "x"}])
def test_bad_requests(server, change):
    assert post(server, PATH, {**body("request", ["x"]), **change}).status == 400


@pytest.mark.parametrize("text, status", FAILURES)
def test_failures(server, text, status):
    for kind in ("request", "response"):
        assert post(server, PATH, body(kind, [text], call="f")).status == status
