"""What the protocols' tests share: one JSON request, one JSON answer, and the fake engine's words."""
import json

CATEGORIES = ["Violent", "Non-violent Illegal Acts", "Sexual Content or Sexual Acts", "PII",
              "Suicide & Self-Harm", "Unethical Acts", "Politically Sensitive Topics",
              "Copyright Violation", "Jailbreak", "None"]
MAYBE = "maybe=5"  # Controversial, Unethical Acts
BLOCKED = "This content was blocked by the safety policy."
FAILURES = [("toolong", 400), ("template", 400), ("busy", 429), ("nan", 500)]


def ask(server, path, body, headers=()):
    """The answer's JSON; its status must be 200."""
    answer = post(server, path, body, headers)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert b": " not in answer.body.replace(b"echo: ", b"")[:40], "separators are compact"
    return answer.json()


def post(server, path, body, headers=()):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.post(data, path, headers)


def user(text):
    return [{"role": "user", "content": text}]


def reply(text, prompt="hi"):
    return user(prompt) + [{"role": "assistant", "content": text}]
