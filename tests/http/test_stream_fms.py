"""POST /api/v2/text/detection/stream-content: the contract of the FMS orchestrator."""
import json

import pytest

from test_stream import Talk, chunk, server  # noqa: F401

FMS = "/api/v2/text/detection/stream-content"
TYPE = "Content-Type: application/x-ndjson"
FIRST = {"detectors": {"qwen3guard": {"threshold": 0.5}}}


def talk_to(server, *lines):  # noqa: F811
    return Talk(server, FMS, [TYPE + "; charset=utf-8"]).say(*lines)


def test_answers_while_the_request_is_open(server):  # noqa: F811
    talk = talk_to(server, {**FIRST, "content": "Sure, first you "})
    assert talk.line() == {"detections": [], "processed_index": 15, "start_index": 0}
    assert talk.answer.status == 200 and "content-type" not in talk.answer.headers
    talk.say({"content": "take the "})
    assert talk.line() == {"detections": [], "processed_index": 24, "start_index": 15}
    talk.say({"content": "b\u00f6se bomb!"})
    got = talk.line()
    assert got["start_index"] == 24 and got["processed_index"] == 34
    assert got["detections"] == [{
        "start": 30, "end": 34, "text": "bomb", "detection": "Violent",
        "detection_type": "qwen3guard_unsafe", "detector_id": "qwen3guard", "score": 0.9}]
    talk.end()
    assert talk.rest() == [{"detections": [], "processed_index": 35, "start_index": 34}]
    assert talk.raw.closed()


def test_every_code_point_is_answered_for_once(server):  # noqa: F811
    """Ranges follow one another without gap, whatever the pieces, and end at the end of the text."""
    text = "\u00e4 bomb \U0001f600\U0001f600 bombomb \u4e2d"
    for step in (1, 2, 3, 100):
        pieces = [text[i:i + step] for i in range(0, len(text), step)]
        talk = talk_to(server, {**FIRST, "content": pieces[0]}, *[{"content": p} for p in pieces[1:]])
        lines = talk.end().rest()
        at = 0
        for line in lines:
            assert line["start_index"] == at < line["processed_index"]
            at = line["processed_index"]
            for d in line["detections"]:
                assert line["start_index"] <= d["start"] < d["end"] <= at
                assert d["text"] == text[d["start"]:d["end"]]
        assert at == len(text)
        assert sum(len(line["detections"]) for line in lines)


def test_content_type(server):  # noqa: F811
    for headers in ([], ["Content-Type: application/json"], ["Content-Type: text/x-ndjson"]):
        answer = server.post(b'{"content":"x"}', FMS, headers)
        assert answer.status == 415
        assert answer.json() == {"code": 415, "details": "expected application/x-ndjson"}


@pytest.mark.parametrize("line, code", [
    ({"content": "x"}, 422), ({"detectors": {}, "content": "x"}, 422), ({**FIRST}, 422),
    ({**FIRST, "content": ""}, 422), ({**FIRST, "content": 1}, 422), ({**FIRST, "content": "x", "role": "user"}, 422),
    ({"detectors": {"other": {}}, "content": "x"}, 422), ({"detectors": {"qwen3guard": {"threshold": 7}}, "content": "x"}, 422),
    ({**FIRST, "content": "busy"}, 429), ({**FIRST, "content": "nan"}, 500), (b"{\n", 422), (b"[]\n", 422)])
def test_errors(server, line, code):  # noqa: F811
    """One line, then the end."""
    talk = talk_to(server, line)
    lines = talk.rest()
    assert len(lines) == 1 and set(lines[0]) == {"code", "details"} and lines[0]["code"] == code
    assert talk.raw.closed()


def test_error_later(server):  # noqa: F811
    talk = talk_to(server, {**FIRST, "content": "xy"})
    assert talk.line()["processed_index"] == 1
    talk.raw.send(chunk({"content": ""}))
    assert [line["code"] for line in talk.rest()] == [422]


def test_nothing(server):  # noqa: F811
    assert json.loads(server.post(b"", FMS, [TYPE]).body)["code"] == 422
