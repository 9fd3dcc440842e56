"""The FMS detector API: detections for hits only, code points, numeric error codes."""
import pytest
from protocols import FAILURES, MAYBE, ask, post, reply, user
from wire import request

CONTENTS, CHAT, GENERATION = (f"/api/v1/text/{kind}" for kind in ("contents", "chat", "generation"))


def test_contents(server):
    text = "bomb 爆弾 😀"
    got = ask(server, CONTENTS, {"contents": [text, "hi", MAYBE], "detector_params": {}},
              ["detector-id: qwen3guard", "x-model-name: qwen3guard", "traceparent: 00-" + "1" * 32 + "-" + "1" * 16 + "-01"])
    assert len(got) == 3 and got[1] == []
    (hit,), (maybe,) = got[0], got[2]
    assert hit == {"start": 0, "end": 9, "text": text, "detection": "Violent",
                   "detection_type": "qwen3guard_unsafe", "score": 0.96875,
                   "evidence": [{"name": "label", "value": "Unsafe", "score": 0.96875}]}
    assert maybe["detection"] == "Unethical Acts" and maybe["detection_type"] == "qwen3guard_controversial"
    assert ask(server, CONTENTS, {"contents": ["hi"]}) == [[]]
    assert ask(server, CONTENTS, {"contents": []}) == []


def test_chat_and_generation(server):
    hit = {"detection": "Violent", "detection_type": "qwen3guard_unsafe", "score": 0.96875,
           "evidence": [{"name": "label", "value": "Unsafe", "score": 0.96875}]}
    assert ask(server, CHAT, {"messages": user("bomb"), "tools": [], "detector_params": {}}) == [hit]
    assert ask(server, CHAT, {"messages": user("hi"), "tools": []}) == []
    of_reply = {**hit, "metadata": {"refusal": "No"}}
    assert ask(server, CHAT, {"messages": reply("bomb")}) == [of_reply]
    assert ask(server, GENERATION, {"prompt": "hi", "generated_text": "bomb", "detector_params": {}}) == [of_reply]
    assert ask(server, GENERATION, {"prompt": "bomb", "generated_text": "no"}) == []


def test_orchestrator_route(server):
    got = ask(server, "/api/v2/text/detection/content", {"content": "bomb", "detectors": {"qwen3guard": {}}})
    assert got["detections"][0]["detection"] == "Violent" and got["detections"][0]["detector_id"] == "qwen3guard"
    assert ask(server, "/api/v2/text/detection/content", {"content": "hi", "detectors": {"x": {}}}) == {"detections": []}


@pytest.mark.parametrize("threshold, hits", [(0.01, 2), (0.5, 1), (0.97, 0)])
def test_threshold(server, threshold, hits):
    """NeMo sends its threshold along; the orchestrator keeps it for itself."""
    got = ask(server, CONTENTS, {"contents": ["bomb", "hi"], "detector_params": {"threshold": threshold}})
    assert sum(len(one) for one in got) == hits


def test_detector_ids(server):
    for name, status in (("qwen3guard", 200), ("fake-guard", 200), ("other", 404)):
        answer = post(server, CONTENTS, {"contents": ["hi"]}, [f"detector-id: {name}"])
        assert answer.status == status
    assert answer.json()["code"] == 404


def test_growing_query(server):
    """Older LiteLLM appends its query again on every call."""
    path = CONTENTS + "?detector_id=x" * 400
    assert ask(server, path, {"contents": ["hi"]}) == [[]]


@pytest.mark.parametrize("path, body", [
    (CONTENTS, {}), (CONTENTS, {"contents": "x"}), (CONTENTS, {"contents": [1]}), (CHAT, {"messages": []}),
    (CHAT, {}), (GENERATION, {"prompt": "x"}), (CONTENTS, b"nonsense"),
    (CONTENTS, {"contents": ["x"], "detector_params": {"threshold": "high"}})])
def test_bad_requests(server, path, body):
    answer = post(server, path, body)
    assert answer.status == 422 and answer.json()["code"] == 422 and isinstance(answer.json()["message"], str)


@pytest.mark.parametrize("text, status", FAILURES)
def test_failures(server, text, status):
    answer = post(server, CONTENTS, {"contents": ["hi", text]})
    assert answer.status == {400: 422}.get(status, status) == answer.json()["code"]


@pytest.mark.parametrize("method, headers, status", [
    ("GET", [], 405), ("POST", ["Content-Encoding: gzip"], 415), ("POST", ["Authorization: Bearer wrong"], 401)])
def test_errors_before_the_body_have_a_numeric_code_too(serve, method, headers, status):
    """The orchestrator makes an HTTP status of `code`."""
    server = serve("--api-key", "k")
    key = [] if status == 401 else ["Authorization: Bearer k"]
    body = b'{"contents":["hi"],"detector_params":{}}' if method == "POST" else None
    with server.open() as raw:
        answer = raw.send(request(method, "/api/v1/text/contents", body, [*key, *headers])).answer()
    assert answer.status == status and answer.json()["code"] == status
    assert isinstance(answer.json()["message"], str)


def test_a_body_that_is_too_large_has_one_too(serve):
    answer = serve("--body-bytes", 100).post(b" " * 200, "/api/v1/text/contents")
    assert answer.status == 413 and answer.json()["code"] == 413
