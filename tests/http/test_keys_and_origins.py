"""Keys from a file, read again on SIGHUP; web pages of other origins; the policy file's message."""
import signal
import time

import pytest
from protocols import ask, post, user

from wire import CHAT, chat_body


def admitted(server, key):
    return server.post(chat_body("hi"), headers=[f"Authorization: Bearer {key}"]).status == 200


def hup(server, words):
    server.process.send_signal(signal.SIGHUP)
    assert server.wait_for_line(words)


def test_key_file(serve, tmp_path):
    path = tmp_path / "keys"
    path.write_text("# who may\n\none\nteam-a   two\r\n\tthree\n")
    server = serve("--api-key-file", path, "--api-key", "zero")
    for key in ("zero", "one", "two", "three"):
        assert admitted(server, key)
    for key in ("team-a", "four", "", "# who may", "on", "one "[:-1] + "x"):
        assert not admitted(server, key)
    path.write_text("four\n")
    hup(server, "keys reloaded (1)")
    assert admitted(server, "four") and admitted(server, "zero") and not admitted(server, "one")
    path.write_text("five six seven\n")
    hup(server, "keys:1: a line is a key")
    assert admitted(server, "four") and not admitted(server, "five")
    path.unlink()
    hup(server, "keys not reloaded, the old ones stay: " + str(path)[:10])
    assert admitted(server, "four")
    assert not any("four" in line for line in server.lines)


def test_a_file_without_keys_opens_no_door(fake_binary, tmp_path):
    import subprocess
    (tmp_path / "keys").write_text("# nobody\n")
    for path, words in ((tmp_path / "keys", "no key in this file"), (tmp_path / "none", "No such file")):
        done = subprocess.run([fake_binary, "--api-key-file", path], capture_output=True, text=True, timeout=30)
        assert done.returncode == 1 and words in done.stderr


def test_policy_file(serve, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text('version: 1\nmode: loose\nmessage: "Not here."\ncategories:\n  Copyright Violation: {action: flag}\n'
                    '  PII: {action: allow}\n')
    server = serve("--policy", path)
    flagged = [ask(server, "/v1/moderations", {"input": t})["results"][0]["flagged"]
               for t in ("maybe=0", "bomb", "unsafe=7", "unsafe=3")]
    assert flagged == [False, True, True, False]
    dify = [ask(server, "/dify", {"point": "app.moderation.output", "params": {"text": t}})["preset_response"]
            for t in ("maybe=0", "bomb", "unsafe=7", "unsafe=3")]
    assert dify == ["", "Not here.", "", ""]
    path.write_text("version: 1\nmode: lax\n")
    hup(server, "policy not reloaded")
    assert ask(server, "/v1/moderations", {"input": "maybe=0"})["results"][0]["flagged"] is False
    path.write_text("version: 1\nthresholds: {unsafe: 0.97}\n")
    hup(server, "policy reloaded")
    assert ask(server, "/v1/moderations", {"input": "bomb"})["results"][0]["flagged"] is False


def test_policy_of_a_key(serve, tmp_path):
    (tmp_path / "policy.yaml").write_text("version: 1\nkeys:\n  team-a: {mode: loose}\n")
    (tmp_path / "keys").write_text("team-a one\ntwo\n")
    server = serve("--policy", tmp_path / "policy.yaml", "--api-key-file", tmp_path / "keys")
    for key, flagged in (("one", False), ("two", True)):
        got = ask(server, "/v1/moderations", {"input": "maybe=0"}, [f"x-api-key: {key}"])
        assert got["results"][0]["flagged"] == flagged


ORIGIN = ["Origin: https://app.example"]
PREFLIGHT = ORIGIN + ["Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type"]


@pytest.mark.parametrize("origins, allowed", [
    (None, "*"), ('["*"]', "*"), ("*", "*"), ('["https://app.example","https://b"]', "https://app.example"),
    ("https://app.example", "https://app.example"), ('["https://other"]', None), ("[]", None), ("", None)])
def test_origins(serve, origins, allowed):
    server = serve("--api-key", "k", *([] if origins is None else ["--allowed-origins", origins]))
    answer = server.get(CHAT, PREFLIGHT, method="OPTIONS")
    assert answer.status == 204
    for one in (answer, server.get("/health", ORIGIN), post(server, CHAT, {"messages": user("hi")}, ORIGIN),
                post(server, CHAT, {"messages": user("hi"), "stream": True}, ORIGIN + ["x-api-key: k"]),
                server.get("/nothing", ORIGIN)):
        assert one.headers.get("access-control-allow-origin") == allowed
        assert one.headers.get("vary") == ("Origin" if allowed and allowed != "*" else None)
    assert ("authorization" in answer.headers.get("access-control-allow-headers", "").lower()) == bool(allowed)
    assert "access-control-allow-origin" not in server.get("/health").headers


def test_broken_origins(fake_binary):
    import subprocess
    for spec in ("[1]", "[", '{"a":1}'[:0] + "[{}]"):
        done = subprocess.run([fake_binary, "--allowed-origins", spec], capture_output=True, text=True, timeout=30)
        assert done.returncode == 1 and "allowed origins" in done.stderr


def test_reload_does_not_disturb_requests(serve, tmp_path):
    (tmp_path / "keys").write_text("k\n")
    server = serve("--api-key-file", tmp_path / "keys")
    with server.open() as raw:
        from wire import request
        raw.send(request("POST", CHAT, chat_body("sleep=300 bomb"), ["x-api-key: k"]))
        time.sleep(0.1)
        hup(server, "keys reloaded (1)")
        assert raw.answer().status == 200
