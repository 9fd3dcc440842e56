"""POST /v1/guard: the verdict object itself, alone or in batches."""
import pytest
from protocols import FAILURES, ask, post, reply, user

PATH = "/v1/guard"


def test_forms(server):
    got = ask(server, PATH, {"prompt": "bomb"})
    assert got == {"role": "user", "severity": "Unsafe", "categories": ["Violent"], "refusal": None,
                   "p": None, "tokens": {"input": 4, "cached": 0}, "model": "fake-guard"}
    assert ask(server, PATH, {"messages": user("bomb")}) == got
    answer = ask(server, PATH, {"prompt": "hi", "response": "bomb"})
    assert answer["role"] == "assistant" and answer["severity"] == "Unsafe" and answer["refusal"] == "No"
    assert ask(server, PATH, {"messages": reply("bomb")}) == answer


def test_batch(server):
    rows = [{"prompt": "bomb"}, {"prompt": "hi", "response": ""}, {"messages": user("nan")},
            {"prompt": "toolong"}, {"prompt": "hi"}]
    got = ask(server, PATH, {"batch": rows})["results"]
    assert [r.get("severity") for r in got] == ["Unsafe", "Safe", None, None, "Safe"]
    assert got[2]["error"]["type"] == "InternalServerError"
    assert got[3]["error"]["code"] == "context_length_exceeded"
    assert ask(server, PATH, {"batch": []}) == {"results": []}
    many = ask(server, PATH, {"batch": [{"prompt": f"echo {'bomb' if i % 3 else ''}"} for i in range(500)]})
    assert [r["severity"] for r in many["results"]] == ["Unsafe" if i % 3 else "Safe" for i in range(500)]


@pytest.mark.parametrize("text, status", FAILURES)
def test_failures(server, text, status):
    assert post(server, PATH, {"prompt": text}).status == status


@pytest.mark.parametrize("body, param", [
    ({}, "body.prompt"), ({"prompt": None}, "body.prompt"), ({"response": "x"}, "body.prompt"),
    ({"prompt": "x", "response": 1}, "body.response"), ({"messages": []}, "body.messages"),
    ({"batch": {}}, "body.batch"), ({"batch": [1]}, "body.batch.0"),
    ({"batch": [{"prompt": "x"}, {}]}, "body.batch.1.prompt"),
    ({"batch": [{"messages": [{"role": "user"}]}]}, "body.batch.0.messages.0.content")])
def test_bad_requests(server, body, param):
    answer = post(server, PATH, body)
    assert answer.status == 400 and answer.error["param"] == param
