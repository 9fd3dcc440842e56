"""What gateways call: Lakera, agentgateway, ext_authz, Azure, Aliyun, Llama Stack."""
import json
import urllib.parse

import pytest
from protocols import BLOCKED, FAILURES, MAYBE, ask, post, reply, user

from wire import request


# ---- Lakera ----

def test_lakera(server):
    got = ask(server, "/v2/guard", {"messages": user("bomb"), "project_id": "p", "payload": True,
                                    "breakdown": True, "dev_info": True, "metadata": {}})
    assert got["flagged"] is True and got["payload"] == []
    hits = [e for e in got["breakdown"] if e["detected"]]
    assert hits == [{"project_id": "p", "policy_id": "qwen3guard", "detector_id": "qwen3guard-violent",
                     "detector_type": "moderated_content/violence", "detected": True, "result": "l2_very_likely"}]
    assert len(got["breakdown"]) == 9
    assert all(e["result"] == "l5_unlikely" for e in got["breakdown"] if not e["detected"])
    safe = ask(server, "/v2/guard", {"messages": user("hi"), "breakdown": True})
    assert safe["flagged"] is False and safe["payload"] == [] and not any(e["detected"] for e in safe["breakdown"])
    assert ask(server, "/v2/guard", {"messages": reply("bomb")})["flagged"]
    jailbreak = ask(server, "/v2/guard", {"messages": user("unsafe=8")})
    assert [e["detector_type"] for e in jailbreak["breakdown"] if e["detected"]] == ["prompt_attack"]
    nothing = ask(server, "/v2/guard", {"messages": user("unsafe=9")})
    assert nothing["flagged"] and [e["detector_type"] for e in nothing["breakdown"] if e["detected"]]
    # LiteLLM masks instead of blocking when all that was detected is pii/…
    pii = ask(server, "/v2/guard", {"messages": user("unsafe=3")})
    assert not [e for e in pii["breakdown"] if e["detected"] and e["detector_type"].startswith("pii/")]


# ---- agentgateway ----

def test_agentgateway(server):
    rejected = {"action": {"body": BLOCKED, "status_code": 403, "reason": "Unsafe: Violent"}}
    passed = {"action": {"reason": "ok"}}
    assert ask(server, "/request", {"body": {"messages": user("bomb")}}) == rejected
    assert ask(server, "/request", {"body": {"messages": user("hi")}}) == passed
    choices = [{"message": {"role": "assistant", "content": text}} for text in ("fine", "bomb")]
    assert ask(server, "/response", {"body": {"choices": choices}}) == rejected
    assert ask(server, "/response", {"body": {"choices": choices[:1]}}) == passed
    assert ask(server, "/response", {"body": {"choices": [{"message": {"role": "assistant", "content": None}}]}}) == passed
    for body in ({}, {"body": {}}, {"body": {"messages": []}}):
        assert post(server, "/request", body).status == 400
    assert post(server, "/response", {"body": {"choices": [{}]}}).status == 400


# ---- Envoy ----

@pytest.mark.parametrize("body, status", [
    ({"messages": user("hi")}, 200), ({"messages": user("bomb")}, 403), ({"prompt": "bomb"}, 403),
    ({"prompt": ["hi", "bomb"]}, 403), ({"input": "bomb"}, 403), ({"input": "hi"}, 200),
    ({"messages": user("bomb") + [{"role": "tool", "content": "x"}]}, 403), ({}, 400), ({"messages": []}, 400),
    ({"prompt": [1, 2]}, 400), (b"junk", 400), (b"[]", 400), (b"", 200)])
def test_ext_authz(server, body, status):
    answer = post(server, "/ext_authz/v1/chat/completions", body)
    assert answer.status == status
    if status == 403:
        assert answer.error["code"] == "content_filter" and "Violent" in answer.error["message"]
    if status == 200:
        assert answer.body == b""


def test_ext_authz_takes_any_method_and_all_of_the_body(server):
    for method in ("GET", "HEAD", "DELETE", "PUT", "OPTIONS", "PATCH"):
        assert server.raw(request(method, "/ext_authz/v1/models"), head_only=True).status == 200
    partial = post(server, "/ext_authz/x", {"messages": user("hi")}, ["x-envoy-auth-partial-body: true"])
    assert partial.status == 400
    whole = post(server, "/ext_authz/x", {"messages": user("hi")}, ["x-envoy-auth-partial-body: false"])
    assert whole.status == 200


def test_ext_authz_cuts_a_long_message_between_characters(serve, tmp_path):
    """A broken character in it would have cost the whole error: "Out of memory." instead."""
    (tmp_path / "policy.yaml").write_text("version: 1\nmessage: " + "x" * 299 + "\u00e9\u00e9\n", encoding="utf-8")
    answer = post(serve("--policy", tmp_path / "policy.yaml"), "/ext_authz/x", {"messages": user("bomb")})
    assert answer.status == 403
    assert answer.error["message"] == "x" * 299 + " (Unsafe: Violent)" and answer.error["code"] == "content_filter"


# ---- Azure ----

def test_azure(server):
    path = "/contentsafety/text:analyze?api-version=2024-09-01"
    got = ask(server, path, {"text": "bomb", "categories": ["Hate", "Sexual", "SelfHarm", "Violence"],
                             "blocklistNames": [], "haltOnBlocklistHit": False,
                             "outputType": "FourSeverityLevels"})
    assert got == {"blocklistsMatch": [], "categoriesAnalysis": [
        {"category": "Hate", "severity": 0}, {"category": "Sexual", "severity": 0},
        {"category": "SelfHarm", "severity": 0}, {"category": "Violence", "severity": 6}]}
    assert all(c["severity"] == 0 for c in ask(server, path, {"text": "hi"})["categoriesAnalysis"])
    for i in range(10):  # no hit is without one of the four
        assert max(c["severity"] for c in ask(server, path, {"text": f"unsafe={i}"})["categoriesAnalysis"]) == 6
    assert {c["category"]: c["severity"] for c in ask(server, path, {"text": MAYBE})["categoriesAnalysis"]}["Hate"] == 4
    assert len(ask(server, path, {"text": "x", "categories": ["Hate"]})["categoriesAnalysis"]) == 1
    assert post(server, path, {}).status == 400


def test_azure_prompt_shield(server):
    path = "/contentsafety/text:shieldPrompt?api-version=2024-09-01"
    got = ask(server, path, {"userPrompt": "unsafe=8", "documents": ["hi", "unsafe=8", "bomb"]})
    assert got == {"userPromptAnalysis": {"attackDetected": True}, "documentsAnalysis": [
        {"attackDetected": False}, {"attackDetected": True}, {"attackDetected": False}]}
    assert post(server, path, {}).status == 400


def test_azure_key(serve):
    server = serve("--api-key", "k")
    assert post(server, "/contentsafety/text:analyze", {"text": "x"}, ["Ocp-Apim-Subscription-Key: k"]).status == 200


# ---- Aliyun ----

def aliyun(text, service="llm_query_moderation"):
    return urllib.parse.urlencode({
        "Action": "TextModerationPlus", "Version": "2022-03-02", "AccessKeyId": "id", "Signature": "a+/=",
        "Service": service, "ServiceParameters": json.dumps({"sessionId": "s", "content": text})})


@pytest.mark.parametrize("where", ["form", "query"])
def test_aliyun(server, where):
    def call(*what):
        form = aliyun(*what)
        if where == "form":
            return ask(server, "/", form.encode(), ["Content-Type: application/x-www-form-urlencoded"])
        return ask(server, "/?" + form, b"")
    got = call("bomb & 爆弾")
    assert got["Code"] == 200 and got["Message"] == "OK" and got["RequestId"]
    assert got["Data"]["RiskLevel"] == "max" and got["Data"]["Advice"] == [{"Answer": BLOCKED}]
    assert got["Data"]["Result"] == [{"Label": "violent", "Confidence": 96.875}]
    assert call("hi")["Data"] == {"RiskLevel": "none", "Advice": [], "Result": []}
    assert call(MAYBE)["Data"]["RiskLevel"] == "max"
    assert call("bomb", "llm_response_moderation")["Data"]["RiskLevel"] == "max"


@pytest.mark.parametrize("form", [
    b"", b"Action=Other", b"Action=TextModerationPlus", b"Action=TextModerationPlus&ServiceParameters=%7",
    b"Action=TextModerationPlus&ServiceParameters=5", b"Action=TextModerationPlus&ServiceParameters={}"])
def test_aliyun_errors(server, form):
    answer = post(server, "/", form)
    assert answer.status == 400 and answer.json()["Code"] == 400


# ---- Llama Stack ----

def test_run_shield(server):
    path = "/v1/safety/run-shield"
    assert ask(server, path, {"shield_id": "s", "messages": user("hi")}) == {"violation": None}
    got = ask(server, path, {"shield_id": "s", "messages": user("bomb")})["violation"]
    assert got["violation_level"] == "error" and got["user_message"] == BLOCKED
    assert got["metadata"] == {"severity": "Unsafe", "violation_type": "violent", "score": 0.96875}
    assert ask(server, path, {"messages": reply("bomb")})["violation"]
    assert post(server, path, {"shield_id": "s"}).status == 400


@pytest.mark.parametrize("text, status", FAILURES)
def test_failures_are_never_a_pass(server, text, status):
    for path, body in (("/v2/guard", {"messages": user(text)}), ("/request", {"body": {"messages": user(text)}}),
                       ("/ext_authz/x", {"messages": user(text)}), ("/contentsafety/text:analyze", {"text": text}),
                       ("/v1/safety/run-shield", {"messages": user(text)}), ("/", aliyun(text).encode())):
        assert post(server, path, body).status == status
