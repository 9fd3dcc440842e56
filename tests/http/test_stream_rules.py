"""The policy's rules on streams and sessions: the same as for whole texts, whatever the pieces."""
import json
import time

import pytest

from test_policy import policy
from test_socket import Socket
from test_stream import STREAM, Talk
from test_stream_fms import FIRST, talk_to

SESSIONS = "/v1/moderations/sessions"
RULES = r"""version: 1
rules:
  - {contains: "forbidden", severity: Unsafe, category: Jailbreak}
  - {contains: "doubtful", severity: Controversial, category: PII}
  - {regex: "\\b\\d{3}-\\d{2}\\z", severity: Unsafe, category: PII, in: [response]}
  - {contains: "known good", severity: Safe, final: true}
  - {regex: "(a|aa)+[bd]x", severity: Unsafe, category: PII}
categories:
  "Jailbreak": {action: flag}
"""


@pytest.fixture
def ruled(serve, tmp_path):
    def start(text=RULES, *more):
        return serve("--stream-model", "stream", "--policy", policy(tmp_path, text), *more)
    return start


def lines_until_summary(talk):
    rules, summary = [], None
    while summary is None:
        line = talk.line()
        assert "error" not in line, line
        rules += [line["rule"]] if "rule" in line else []
        summary = line.get("summary")
    return rules, summary


def test_a_match_over_pieces(ruled):
    server = ruled()
    for step in (1, 2, 3, 50):
        text = "it is \u4eca FORBIDDEN to say"
        talk = Talk(server)
        found = []
        for at in range(0, len(text), step):
            talk.say({"content": text[at:at + step]})
            rules, summary = lines_until_summary(talk)
            found += rules
            assert summary["flagged"] == (at + step >= 17)
        assert found == [{"line": 3, "role": "assistant", "begin": 8, "end": 17, "severity": "Unsafe",
                          "category": "Jailbreak", "final": False, "action": "flag"}]
        assert summary["range"] == [8, 17] and summary["source"] == "rule" and summary["rule_line"] == 3
        assert (summary["severity"], summary["category"], summary["action"]) == ("Unsafe", "Jailbreak", "flag")
        assert summary["first_flagged_index"] == -1
        talk.raw.close()


def test_rules_and_model(ruled):
    server = ruled()
    talk = Talk(server).say({"role": "user", "content": "doubtful", "end": True})
    rules, summary = lines_until_summary(talk)
    assert [r["line"] for r in rules] == [4] and summary["severity"] == "Controversial"
    # the more severe of both, and the next turn begins anew
    talk.say({"role": "assistant", "content": "a doubtful bomb."})
    rules, summary = lines_until_summary(talk)
    assert [r["line"] for r in rules] == [4]
    assert summary["severity"] == "Unsafe" and summary["source"] == "stream" and summary["action"] == "block"
    talk.say({"end": True}, {"content": "fine. "})
    assert lines_until_summary(talk)[0] == []
    rules, summary = lines_until_summary(talk)
    assert not rules and not summary["flagged"] and summary["source"] == "stream"
    # a final Safe rule stands against the model
    talk.say({"content": "known good bomb."})
    rules, summary = lines_until_summary(talk)
    assert rules[0]["final"] and rules[0]["action"] == "allow"
    assert not summary["flagged"] and summary["severity"] == "Safe" and summary["source"] == "rule"
    # what matches at a turn's end alone, which another role's turn brings
    talk.say({"end": True}, {"role": "assistant", "content": "call 123-45"})
    lines_until_summary(talk), lines_until_summary(talk)
    talk.say({"role": "user", "content": "hm"})
    rules, summary = lines_until_summary(talk)
    assert [(r["line"], r["role"]) for r in rules] == [(5, "assistant")]
    # a system's turn has rules, too, and no token
    talk.say({"role": "system", "content": "forbidden", "end": True})
    rules, summary = lines_until_summary(talk)
    assert rules[0]["role"] == "system" and summary["flagged"]


def test_loose_and_allowed(ruled):
    server = ruled(RULES + '  "PII": {action: allow}\n')
    talk = Talk(server).say({"mode": "loose", "content": "doubtful forbidden"})
    rules, summary = lines_until_summary(talk)
    assert [r["line"] for r in rules] == [3] and summary["flagged"]
    talk = Talk(server).say({"content": "doubtful"})
    rules, summary = lines_until_summary(talk)
    assert rules[0]["action"] == "allow" and not summary["flagged"] and summary["action"] == "allow"
    talk.raw.close()


def test_a_rollback_forgets_the_match(ruled):
    talk = Talk(ruled()).say({"content": "a forbid"})
    assert lines_until_summary(talk)[0] == []
    talk.say({"content": "den word"})
    assert lines_until_summary(talk)[1]["flagged"]
    talk.say({"rollback": 9, "content": "ding tone"})
    rules, summary = lines_until_summary(talk)
    assert not rules and not summary["flagged"]
    talk.say({"rollback": 9, "content": "den"})
    rules, summary = lines_until_summary(talk)
    assert [(r["begin"], r["end"]) for r in rules] == [(2, 11)] and summary["flagged"]


def test_what_failed_was_not_said(ruled):
    server = ruled()
    made = server.post(b'{"content":"a forbid"}', SESSIONS).json()
    assert made["rules"] == []
    url = f"{SESSIONS}/{made['id']}"
    for word, status in (("busy", 429), ("nan", 500)):
        assert server.post(json.dumps({"content": f"den {word}"}).encode(), url).status == status
        if word == "nan":
            continue
        shown = server.get(url).json()
        assert not shown["summary"]["flagged"]
    url = f"{SESSIONS}/{server.post(b'{}', SESSIONS).json()['id']}"
    server.post(b'{"content":"a forbid"}', url)
    assert server.post(b'{"content":"den busy"}', url).status == 429
    got = server.post(b'{"content":"den"}', url).json()
    assert [r["line"] for r in got["rules"]] == [3] and got["summary"]["flagged"]
    assert server.get(url).json()["summary"] == got["summary"]


def test_ids_are_read_as_text(ruled):
    talk = Talk(ruled()).say({"token_ids": [ord(c) for c in "x forb"]})
    assert lines_until_summary(talk)[0] == []
    talk.say({"token_ids": [ord(c) for c in "idden"] + [0xE4]})
    rules, summary = lines_until_summary(talk)
    assert [(r["begin"], r["end"]) for r in rules] == [(2, 11)] and summary["flagged"]


def test_a_pattern_without_end(ruled):
    server = ruled()
    body = json.dumps({"content": "a" * 60 + "cx"}).encode()
    answer = server.post(body, STREAM)
    assert answer.status == 400 and b"line 7" in answer.body
    server = ruled(RULES + "on_error: {prompt: open, response: open}\n")
    assert server.post(body, STREAM).status == 200
    assert b'outcome="open"} 1' in server.get("/metrics").body


def test_sockets(ruled):
    socket = Socket(ruled())
    socket.say({"content": "forbidden"})
    while "rule" not in (line := socket.line()):
        assert "summary" not in line
    assert line["rule"]["line"] == 3


def test_fms(ruled):
    server = ruled()
    text = "well, it is forbidden here. bomb!"
    for step in (1, 4, 100):
        pieces = [text[i:i + step] for i in range(0, len(text), step)]
        talk = talk_to(server, {**FIRST, "content": pieces[0]}, *[{"content": p} for p in pieces[1:]])
        found, at = [], 0
        for line in talk.end().rest():
            assert line["start_index"] == at
            at = line["processed_index"]
            found += line["detections"]
            for d in line["detections"]:
                assert line["start_index"] <= d["start"] < d["end"] <= at
        assert at == len(text)
        assert ("forbidden", "Jailbreak", 1.0) in [(d["text"], d["detection"], d["score"]) for d in found]
        assert "Violent" in [d["detection"] for d in found]


def test_counted_and_audited(ruled, tmp_path):
    log = tmp_path / "audit.jsonl"
    server = ruled(RULES, "--audit-log", log)
    talk = Talk(server).say({"role": "user", "content": "forbidden", "end": True},
                            {"role": "assistant", "content": "doubtful"}, {"role": "user", "content": "x", "end": True},
                            {"role": "assistant", "content": "known good bomb"})
    assert len([line for line in talk.end().rest() if "summary" in line]) == 5
    deadline = time.monotonic() + 10
    while len(rows := [json.loads(row) for row in log.read_text().splitlines()]) < 4:
        assert time.monotonic() < deadline, rows
        time.sleep(0.05)
    got = [(r["role"], r["severity"], r["source"], r.get("rule_line"), r["action"]) for r in rows]
    assert got == [("user", "Unsafe", "rule", 3, "flag"), ("assistant", "Controversial", "rule", 4, "block"),
                   ("user", "Safe", "stream", None, "allow"), ("assistant", "Safe", "rule", 6, "allow")]
    page = server.get("/metrics").body.decode()
    assert "qwen3guard_rule_verdicts_total 3" in page
