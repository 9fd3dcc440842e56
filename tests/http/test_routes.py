"""The side routes: models, health, version; methods, keys, what is not there."""
import time

import pytest

from wire import CHAT, chat_body, request


def test_models(server):
    got = server.get("/v1/models").json()
    assert got["object"] == "list" and len(got["data"]) == 1
    card = got["data"][0]
    assert card["id"] == "fake-guard" and card["object"] == "model"
    assert isinstance(card["created"], int) and isinstance(card["owned_by"], str)
    assert card["max_model_len"] == 4096
    assert server.get("/v1/models/fake-guard").json() == card


@pytest.mark.parametrize("path", ["/health", "/ping"])
def test_health(server, path):
    for method in ("GET", "HEAD"):
        answer = server.get(path, method=method)
        assert answer.status == 200 and answer.body == b""
        assert answer.headers["content-length"] == "0"
    assert server.post(b"", "/ping").status == 200


def test_version(server):
    assert list(server.get("/version").json()) == ["version"]
    assert server.get("/version?x=%zz&y").status == 200
    assert server.get("http://elsewhere/version").status == 200


@pytest.mark.parametrize("method, path, allow", [
    ("GET", CHAT, "POST, OPTIONS"), ("DELETE", "/v1/models", "GET, HEAD, OPTIONS"),
    ("PUT", CHAT, "POST, OPTIONS"), ("TRACE", "/health", "GET, HEAD, OPTIONS"),
    ("HEAD", CHAT, "POST, OPTIONS"), ("POST", "/version", "GET, HEAD, OPTIONS"),
    ("PATCH", "/ping", "GET, HEAD, POST, OPTIONS"), ("get", "/health", "GET, HEAD, OPTIONS")])
def test_method_not_allowed(server, method, path, allow):
    answer = server.get(path, method=method)
    assert answer.status == 405 and answer.headers["allow"] == allow
    assert method == "HEAD" or answer.error["type"] == "MethodNotAllowedError"


def test_options(server):
    answer = server.get(CHAT, method="OPTIONS")
    assert answer.status == 204 and answer.headers["allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/chat/completions/", "/v1/models/", "//health",
                                  "/health/", "/v1/../health", "/%2e", "*", "/V1/models"])
def test_not_found(server, path):
    answer = server.get(path)
    assert answer.status == 404 and answer.error["type"] == "NotFoundError"


@pytest.mark.parametrize("name, shown", [("%FF", ""), ("a%C3", "a"), ("%C3%A9", "\u00e9"), ("x" * 199 + "%C3%A9", "x" * 199)])
def test_unknown_model_of_any_bytes(server, name, shown):
    answer = server.get("/v1/models/" + name)
    assert answer.status == 404 and answer.error["message"] == f"The model `{shown}` does not exist."
    assert answer.error["code"] == "model_not_found"


def test_unknown_detector_of_any_bytes(server):
    answer = server.raw(b"POST /api/v1/text/contents HTTP/1.1\r\nHost: x\r\ndetector-id: \xff\r\nContent-Length: 15\r\n\r\n"
                        b'{"contents":[]}')
    assert answer.status in (400, 404) and "memory" not in answer.body.decode()


@pytest.mark.parametrize("path", ["/health%00", "/he%zzalth", "/health%", "/%0"])
def test_broken_escapes(server, path):
    assert server.get(path).status == 400


def test_keys(serve):
    server = serve("--api-key", "secret", "--api-key", "other")
    body = chat_body("hi")
    for header in (["Authorization: Bearer secret"], ["authorization: bearer other"],
                   ["x-api-key: secret"], ["api-key: other"],
                   ["Ocp-Apim-Subscription-Key: secret"], ["Authorization: BEARER   secret"]):
        assert server.post(body, headers=header).status == 200
        assert server.get("/v1/models", headers=header).status == 200
    for header in ([], ["Authorization: Bearer secre"], ["Authorization: Bearer secrets"],
                   ["Authorization: secret"], ["Authorization: Basic secret"], ["x-api-key: "],
                   ["Authorization: Bearer"], ["Authorization: Bearer "], ["x-api-key: Secret"]):
        for answer in (server.post(body, headers=header), server.get("/v1/models", headers=header)):
            assert answer.status == 401 and answer.error["code"] == "invalid_api_key"
            assert answer.error["message"] == "Unauthorized"
            assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/health", "/ping", "/version"):
        assert server.get(path).status == 200
    assert not any("secret" in line for line in server.lines)


def test_refusals_keep_the_connection(serve):
    server = serve("--api-key", "k")
    with server.open() as raw:
        for _ in range(3):
            assert raw.send(request("POST", CHAT, b"x" * 100000)).answer().status == 401
            assert raw.send(request("POST", "/nope", b"x" * 100000)).answer().status == 404
        assert raw.send(request("GET", "/health")).answer().status == 200


def test_stuck_engine_turns_health_red(serve):
    server = serve("--stuck-ms", 300, "--request-timeout-ms", 0, "--drain-ms", 100)
    assert server.get("/health").status == 200
    with server.open() as raw:
        raw.send(request("POST", CHAT, chat_body("hang")))
        end = time.monotonic() + 20
        while server.get("/health").status == 200:
            assert time.monotonic() < end
            time.sleep(0.05)
        answer = server.get("/health")
        assert answer.status == 503 and "engine" in answer.error["message"]


def test_content_encoding(server):
    assert server.post(chat_body("hi"), headers=["Content-Encoding: gzip"]).status == 415
    assert server.post(chat_body("hi"), headers=["Content-Encoding: identity"]).status == 200
