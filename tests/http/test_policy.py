"""The policy file behind the server: rules, scope, reload; and the metrics page."""
import signal
import time

import pytest

from wire import CHAT, chat_body

RULES = """version: 1
rules:
  - {contains: "forbidden", severity: Unsafe, category: Violent}
  - {contains: "doubtful", severity: Controversial, category: PII}
  - {regex: "\\\\b\\\\d{3}-\\\\d{2}-\\\\d{4}\\\\b", severity: Unsafe, category: PII, in: [response]}
  - {contains: "known good", severity: Safe, final: true}
  - {contains: "known bad", severity: Unsafe, category: Jailbreak, final: true}
  - {regex: "(a|aa)+[bd]x", severity: Unsafe, category: PII}
"""


def policy(tmp_path, text):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return path


def said(server, *messages):
    body = {"messages": [{"role": role, "content": text} for role, text in messages]}
    import json
    return server.post(json.dumps(body).encode(), CHAT)


def test_rules_and_model(serve, tmp_path):
    server = serve("--policy", policy(tmp_path, RULES.replace("\\\\\\\\", "\\\\")))
    cases = [
        ((("user", "hi"),), "Safety: Safe\nCategories: None"),
        ((("user", "a FORBIDDEN word"),), "Safety: Unsafe\nCategories: Violent"),
        ((("user", "a doubtful word"),), "Safety: Controversial\nCategories: PII"),
        # the more severe of rule and model stands
        ((("user", "doubtful bomb"),), "Safety: Unsafe\nCategories: Violent"),
        # a final rule decides alone, whatever the model would say
        ((("user", "known good bomb"),), "Safety: Safe\nCategories: None"),
        ((("user", "known bad hang"),), "Safety: Unsafe\nCategories: Jailbreak"),
        # rules look at what is judged, not at what came before
        ((("user", "forbidden"), ("assistant", "no"), ("user", "hi")), "Safety: Safe\nCategories: None"),
        # this one is for responses
        ((("user", "123-45-6789"),), "Safety: Safe\nCategories: None"),
        ((("user", "hi"), ("assistant", "it is 123-45-6789")), "Safety: Unsafe\nCategories: PII\nRefusal: No"),
    ]
    for messages, text in cases:
        assert said(server, *messages).text == text, messages


def test_pattern_that_needs_too_much_is_no_verdict(serve, tmp_path):
    server = serve("--policy", policy(tmp_path, RULES.replace("\\\\\\\\", "\\\\")))
    answer = said(server, ("user", "a" * 60 + "cx"))
    assert answer.status == 400 and answer.error["message"].startswith("policy line 8")
    assert answer.error["code"] == "rule_limit_exceeded"  # not that of a context that is too small


def test_scope(serve, tmp_path):
    server = serve("--policy", policy(tmp_path, "version: 1\nscope: last_turn\n"))
    answer = said(server, ("user", "x" * 1000), ("assistant", "y"), ("user", "hi"))
    assert answer.json()["usage"]["prompt_tokens"] < 100
    server = serve("--policy", policy(tmp_path, "version: 1\nroles: [user]\n"))
    answer = said(server, ("system", "x" * 1000), ("user", "hi"))
    assert answer.json()["usage"]["prompt_tokens"] < 100


def wait_for(server, words):
    for _ in range(200):
        if any(words in line for line in server.lines):
            return
        time.sleep(0.02)
    raise AssertionError(f"{words!r} not in {server.lines}")


def test_reload(serve, tmp_path):
    path = policy(tmp_path, "version: 1\nrules:\n- {contains: one, severity: Unsafe, category: PII}\n")
    server = serve("--policy", path)
    assert said(server, ("user", "one")).text.startswith("Safety: Unsafe")
    path.write_text("version: 1\nrules:\n- {contains: two, severity: Unsafe, category: PII}\n")
    server.process.send_signal(signal.SIGHUP)
    wait_for(server, "policy reloaded")
    assert said(server, ("user", "one")).text.startswith("Safety: Safe")
    assert said(server, ("user", "two")).text.startswith("Safety: Unsafe")
    path.write_text("version: 1\nmood: bad\n")
    server.process.send_signal(signal.SIGHUP)
    wait_for(server, "the old one stays")
    assert said(server, ("user", "two")).text.startswith("Safety: Unsafe")


def test_wrong_policy_does_not_start(fake_binary, tmp_path):
    import subprocess
    done = subprocess.run([fake_binary, "--policy", policy(tmp_path, "version: 1\nmood: x\n")], capture_output=True, text=True)
    assert done.returncode == 1 and "line 2: mood: unknown key" in done.stderr


def test_metrics(serve):
    server = serve()
    for _ in range(3):
        server.post(chat_body())
    server.get("/nowhere")
    answer = server.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    page = answer.body.decode()
    assert 'qwen3guard_requests_total{endpoint="/v1/chat/completions",code="200"} 3\n' in page
    assert 'qwen3guard_requests_total{endpoint="other",code="404"} 1\n' in page
    assert 'vllm:num_requests_waiting{model_name="fake-guard",engine="0"} 0\n' in page
    for line in page.splitlines():
        assert line.startswith("#") or " " in line
    rows = [line.rsplit(" ", 1)[0] for line in page.splitlines() if line[0] != "#"]
    assert len(set(rows)) == len(rows)
    assert 'qwen3guard_failures_total{role="prompt",reason="overloaded",outcome="open"} 0\n' in page


LIMITS = """version: 1
limits: {requests_per_minute: 3}
keys:
  big: {limits: {requests_per_minute: 1000}}
  slow: {limits: {concurrent: 1, requests_per_minute: 1000}}
"""


def test_limits_of_keys(serve, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("big big-key\nslow slow-key\nother other-key\n")
    server = serve("--policy", policy(tmp_path, LIMITS), "--api-key-file", keys)

    def post(key, text="hi"):
        return server.post(chat_body(text), CHAT, headers=[f"Authorization: Bearer {key}"])
    assert [post("other-key").status for _ in range(4)] == [200, 200, 200, 429]
    refused = post("other-key")
    assert refused.error["code"] == "rate_limit_exceeded" and int(refused.headers["retry-after"]) >= 1
    assert [post("big-key").status for _ in range(8)] == [200] * 8
    import threading
    first = []
    thread = threading.Thread(target=lambda: first.append(post("slow-key", "sleep=700").status))
    thread.start()
    time.sleep(0.3)
    assert post("slow-key").status == 429
    thread.join()
    assert first == [200] and post("slow-key").status == 200
    assert 'qwen3guard_refusals_total{reason="concurrency"} 1' in server.get("/metrics").body.decode()


def test_on_error(serve, tmp_path):
    """What cannot be judged: an error, or passed on where protocol and policy are open; counted either way."""
    import json
    dify = json.dumps({"point": "app.moderation.input", "params": {"query": "busy"}}).encode()
    server = serve()
    assert server.post(dify, "/dify").status == 429
    server = serve("--policy", policy(tmp_path, "version: 1\non_error: {prompt: open}\n"))
    assert server.post(dify, "/dify").json()["flagged"] is False
    assert server.post(chat_body("busy"), CHAT).status == 429  # a verdict is asked for: there is none
    page = server.get("/metrics").body.decode()
    assert 'qwen3guard_failures_total{role="prompt",reason="overloaded",outcome="open"} 1' in page
    assert 'qwen3guard_failures_total{role="prompt",reason="overloaded",outcome="closed"} 1' in page
    # what a rule has matched is judged, whatever becomes of the model
    server = serve("--policy", policy(tmp_path, "version: 1\non_error: open\nrules:\n"
                                      "- {contains: bad, severity: Unsafe, category: PII}\n"))
    bad = json.dumps({"point": "app.moderation.input", "params": {"query": "bad busy"}}).encode()
    assert server.post(bad, "/dify").json()["flagged"] is True


def test_outlet_that_cannot_be_judged_is_not_shown(serve):
    import json
    body = {"body": {"model": "m", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "busy"}]}, "user": {}}
    answer = serve().post(json.dumps(body).encode(), "/qguard/filter/outlet")
    assert answer.status == 200 and "busy" not in answer.json()["messages"][1]["content"]


def test_audit(serve, tmp_path):
    import json
    path = tmp_path / "audit.jsonl"
    server = serve("--audit-log", path)
    server.post(chat_body("bomb secret words"), CHAT)
    server.post(chat_body("hi"), CHAT)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["severity"] for line in lines] == ["Unsafe", "Safe"]
    assert lines[0]["action"] == "block" and lines[0]["category"] == "Violent" and lines[0]["endpoint"] == CHAT
    assert lines[1]["prev"] == lines[0]["hash"] and lines[0]["prev"] == "0" * 64
    assert "secret" not in path.read_text()


GIVEN = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize("header, known", [
    (f"traceparent: 00-{GIVEN}-00f067aa0ba902b7-01", True),
    (f"traceparent: 00-{'0' * 32}-00f067aa0ba902b7-01", False),
    (f"traceparent: 00-{GIVEN}-1", False), ("Accept: */*", False)])
def test_trace_is_in_both_logs_and_in_no_answer(serve, tmp_path, header, known):
    """A trace that is broken is never an error: a new one begins."""
    import json
    path = tmp_path / "audit.jsonl"
    server = serve("--audit-log", path)
    answer = server.post(chat_body("hi"), CHAT, headers=[header])
    assert answer.status == 200 and not {"traceparent", "tracestate"} & set(answer.headers)
    line = json.loads(path.read_text())
    trace, span = line["trace"], line["span"]
    assert len(span) == 16 and span.strip("0") and span != "00f067aa0ba902b7"
    assert line.get("parent_span") == ("00f067aa0ba902b7" if known else None)
    assert server.wait_for_line(f"trace {trace}-{span}" + ("-00f067aa0ba902b7" if known else ""))
    assert len(trace) == 32 and set(trace) <= set("0123456789abcdef") and trace.strip("0")
    assert (trace == GIVEN) == known
    assert server.wait_for_line(f"{answer.headers['x-request-id']}, trace {trace}")


def test_verdict_metrics(serve):
    server = serve()
    server.post(chat_body("bomb"), CHAT)
    page = server.get("/metrics").body.decode()
    assert 'qwen3guard_verdicts_total{role="prompt",label="Unsafe"} 1' in page
    assert 'qwen3guard_category_total{category="Violent"} 1' in page
    assert 'qwen3guard_actions_total{role="prompt",action="block"} 1' in page


def test_playground(server):
    page = server.get("/")
    assert page.status == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    assert "content-security-policy" in page.headers
    for name, kind in (("/playground.js", "text/javascript"), ("/playground.css", "text/css")):
        answer = server.get(name)
        assert answer.status == 200 and answer.headers["content-type"].startswith(kind)
    assert b"http://" not in page.body and b"https://" not in page.body


def test_a_reply_alone_is_shown(serve, tmp_path):
    """The Gen template drops a first message of the assistant: cutting the context must not lose what is judged."""
    for text in ("version: 1\nscope: last_turn\n", "version: 1\nroles: [assistant]\n"):
        server = serve("--policy", policy(tmp_path, text))
        assert said(server, ("user", "hi"), ("assistant", "bomb")).text.startswith("Safety: Unsafe")
        assert said(server, ("user", "bomb"), ("assistant", "hi")).text.startswith("Safety: Safe")
