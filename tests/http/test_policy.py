"""The policy file behind the server: rules, scope, reload; and the metrics page."""
import signal
import time

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
    assert answer.status == 400 and "policy line 8" in answer.error["message"]


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
