"""POST /guardrail/{id}/version/{version}/apply: Amazon Bedrock's ApplyGuardrail."""
import pytest
from protocols import BLOCKED, FAILURES, MAYBE, ask, post

PATH = "/guardrail/gr-1/version/DRAFT/apply"


def body(*texts, source="INPUT", **more):
    return {"source": source, "content": [{"text": {"text": text}} for text in texts], **more}


def test_block(server):
    got = ask(server, PATH, body("hi", "bomb"))
    assert got["action"] == "GUARDRAIL_INTERVENED" and got["outputs"] == [{"text": BLOCKED}]
    assert got["assessments"] == [{"contentPolicy": {"filters": [
        {"type": "VIOLENCE", "confidence": "HIGH", "filterStrength": "HIGH", "action": "BLOCKED", "detected": True}]}}]
    assert got["guardrailCoverage"] == {"textCharacters": {"guarded": 6, "total": 6}}
    assert got["usage"]["contentPolicyUnits"] == 2


def test_pass(server):
    got = ask(server, PATH, body("hi"))
    assert got["action"] == "NONE" and got["outputs"] == got["assessments"] == []
    assert ask(server, PATH, body())["action"] == "NONE"
    full = ask(server, PATH, body("hi", outputScope="FULL"))["assessments"][0]["contentPolicy"]["filters"]
    assert len(full) == 6 and not any(f["detected"] for f in full) and {f["action"] for f in full} == {"NONE"}


def test_output_is_a_reply(server):
    assert ask(server, PATH, body("bomb", source="OUTPUT"))["action"] == "GUARDRAIL_INTERVENED"
    assert ask(server, PATH, body("fine", source="OUTPUT"))["action"] == "NONE"


@pytest.mark.parametrize("category, kind", [(0, "VIOLENCE"), (1, "MISCONDUCT"), (2, "SEXUAL"), (3, "MISCONDUCT"), (4, "VIOLENCE"),
                                            (5, "HATE"), (6, "MISCONDUCT"), (7, "MISCONDUCT"), (8, "PROMPT_ATTACK"), (9, "MISCONDUCT")])
def test_categories(server, category, kind):
    got = ask(server, PATH, body(f"unsafe={category}"))
    assert [f["type"] for f in got["assessments"][0]["contentPolicy"]["filters"]] == [kind]


def test_every_block_is_judged_whatever_its_qualifiers(server):
    content = [{"text": {"text": "hi", "qualifiers": ["guard_content"]}}, {"text": {"text": MAYBE, "qualifiers": ["grounding_source"]}}]
    assert ask(server, PATH, {"source": "INPUT", "content": content})["action"] == "GUARDRAIL_INTERVENED"


@pytest.mark.parametrize("wrong", [{}, {"source": "INPUT"}, {"source": "x", "content": []}, {"source": "INPUT", "content": [{}]},
                                   {"source": "INPUT", "content": [{"image": {}}]}, {"source": "INPUT", "content": [{"text": {}}]},
                                   {"source": "INPUT", "content": [{"text": "x"}]}])
def test_what_cannot_be_judged_is_an_error(server, wrong):
    answer = post(server, PATH, wrong)
    assert answer.status == 400 and answer.json()["__type"] == "ValidationException" and answer.json()["message"]


@pytest.mark.parametrize("text, status", FAILURES)
def test_failures(server, text, status):
    answer = post(server, PATH, body(text))
    assert answer.status == status and set(answer.json()) == {"__type", "message"}


@pytest.mark.parametrize("path", ["/guardrail//version/1/apply", "/guardrail/a/version//apply", "/guardrail/a/apply", "/guardrail/version/apply"])
def test_paths(server, path):
    assert post(server, path, body("hi")).status == 404


def test_a_key_comes_as_bearer_token(serve):
    server = serve("--api-key", "k")
    assert post(server, PATH, body("hi"), ["Authorization: Bearer k"]).status == 200
    refused = post(server, PATH, body("hi"), ["Authorization: AWS4-HMAC-SHA256 Credential=AK/20261124/x"])
    assert refused.status == 401 and refused.json()["__type"] == "AccessDeniedException"
