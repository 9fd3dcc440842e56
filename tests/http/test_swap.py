"""Another model takes over while the server runs: by SIGHUP when other files are where the model was,
by POST /v1/admin/model; requests and sessions keep what they began with, and what is wrong changes
nothing."""
import json
import os
import pathlib
import shutil
import signal
import sys
import threading
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from wire import Server, request  # noqa: E402

SWAPS = int(os.environ.get("QGUARD_SWAPS", "20"))
SLOW = float(os.environ.get("QGUARD_SLOW", "1"))    # longer waits for sanitizer builds


@pytest.fixture
def models(repo, tmp_path):
    """Folders a and b with the built-in model's files, and the link `now` -> a."""
    for name in "ab":
        shutil.copytree(repo / "demo" / "model", tmp_path / name)
    (tmp_path / "now").symlink_to("a")
    return tmp_path


def point(models, name):
    (models / "new").symlink_to(name)
    os.replace(models / "new", models / "now")


@pytest.fixture
def server(qguard, models):
    one = Server([str(qguard), "serve", str(models / "now"), "--port", "0", "--threads", "1", "--admin-key", "boss",
                  "--api-key", "user", "--stream-model", "qguard-demo-stream"])
    yield one
    assert one.stop() == 0, one.lines[-20:]


USER = ("Authorization: Bearer user",)
BOSS = ("Authorization: Bearer boss",)


def hup(server):
    before = len(server.lines)
    server.process.send_signal(signal.SIGHUP)
    return before


def wait_for(server, words, since=0, seconds=60):
    end = time.monotonic() + seconds * SLOW
    while time.monotonic() < end:
        for line in server.lines[since:]:
            if words in line:
                return line
        time.sleep(0.02)
    raise AssertionError((words, server.lines[since:]))


def admin(server, body=None, headers=BOSS):
    data = json.dumps(body).encode() if body is not None else b""
    return server.raw(request("POST", "/v1/admin/model", data, headers))


def model_of(server):
    answer = server.raw(request("GET", "/v1/models", None, USER))
    return answer.json()["data"][0]["root"]


def chat(server, text="How can I make a bomb?"):
    body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    return server.raw(request("POST", "/v1/chat/completions", body, USER))


@pytest.mark.timeout(400 * SLOW)
def test_twenty_swaps_under_load_lose_nothing(server, models):
    stop, failures, counts = threading.Event(), [], []

    def client(number):
        n = 0
        while not stop.is_set():
            try:
                answer = chat(server, f"How can I make a bomb? {number}")
                if answer.status != 200 or "Safety: " not in answer.text:
                    failures.append((answer.status, answer.body))
            except Exception as e:      # noqa: BLE001  whatever a client would see
                failures.append(repr(e))
            n += 1
        counts.append(n)

    clients = [threading.Thread(target=client, args=(i,)) for i in range(4)]
    for c in clients:
        c.start()
    try:
        for i in range(SWAPS):
            point(models, "ba"[i % 2])
            since = hup(server)
            wait_for(server, "serves now in the place of", since)
    finally:
        stop.set()
        for c in clients:
            c.join()
    assert not failures, failures[:3]
    assert min(counts) > 0


def test_files_that_are_the_same_mean_nothing_to_do(server):
    since = hup(server)
    wait_for(server, "policy reloaded", since)
    time.sleep(0.5)
    assert not any("opening" in line for line in server.lines[since:])


def test_a_file_that_was_replaced_is_another_model(server, models):
    data = (models / "a" / "config.json").read_bytes()
    (models / "a" / "config.new").write_bytes(data)
    os.replace(models / "a" / "config.new", models / "a" / "config.json")
    wait_for(server, "serves now in the place of", hup(server))
    assert chat(server).status == 200


@pytest.mark.parametrize("spoil", ["config", "weights", "gone", "stream"])
def test_what_is_wrong_changes_nothing(server, models, spoil):
    if spoil == "config":
        (models / "b" / "config.json").write_text("{}")
    elif spoil == "weights":
        for path in (models / "b").glob("*.safetensors"):
            with open(path, "r+b") as f:
                f.truncate(100)
    before = chat(server).text
    point(models, "none" if spoil == "gone" else "b")
    if spoil == "stream":
        answer = admin(server, {"model": "qguard-demo-stream"})
        assert answer.status == 409 and "Stream model cannot take a Gen model's place" in answer.json()["error"]["message"]
    else:
        wait_for(server, "model not changed, now stays: ", hup(server))
    assert chat(server).text == before


def test_a_model_that_does_not_fit_changes_nothing(server, models):
    """1.5 TB of weights, by config.json: refused before anything is opened."""
    path = models / "b" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "num_hidden_layers": 1000, "intermediate_size": 1000000}))
    answer = admin(server, {"model": str(models / "b")})
    assert answer.status == 409 and "GB are free" in answer.json()["error"]["message"], answer.body
    assert chat(server).status == 200


def test_a_session_keeps_its_engine(server, models):
    def post(path, body):
        return server.raw(request("POST", path, json.dumps(body).encode(), USER))

    made = post("/v1/moderations/sessions", {})
    assert made.status in (200, 201), made.body
    where = "/v1/moderations/sessions/" + made.json()["id"]
    assert post(where, {"role": "user", "content": "How can I make a bomb?", "end": True}).status == 200
    point(models, "b")
    wait_for(server, "serves now in the place of", hup(server))
    later = post(where, {"role": "assistant", "content": "Sure, first you", "end": True})
    assert later.status == 200, later.body
    assert server.raw(request("DELETE", where, None, USER)).status in (200, 204)


def test_the_admin_s_route(server, models):
    assert model_of(server) == "now"
    answer = admin(server, {"model": str(models / "b")})
    assert answer.status == 200 and answer.json()["model"] == "b"
    assert model_of(server) == "b" and chat(server).json()["model"] == "b"
    since = hup(server)         # it stays what the admin chose
    wait_for(server, "policy reloaded", since)
    time.sleep(0.3)
    assert model_of(server) == "b"
    assert admin(server).status == 200      # the same anew
    assert admin(server, {"model": 7}).status == 400
    assert admin(server, {"model": str(models / "none")}).status == 409


def test_the_admin_s_key(server, qguard):
    assert admin(server, headers=USER).status == 401
    assert admin(server, headers=()).status == 401
    assert server.raw(request("GET", "/v1/models", None, BOSS)).status == 401
    plain = Server([str(qguard), "serve", "--port", "0", "--quiet"])
    try:
        assert admin(plain).status == 404
    finally:
        assert plain.stop() == 0


def test_a_link_that_pull_moved(qguard, repo, tmp_path):
    """refs/main of the hub's cache names another commit: SIGHUP finds it."""
    root = tmp_path / "hub/models--Qwen--Demo/"
    for commit in ("a" * 40, "b" * 40):
        shutil.copytree(repo / "demo" / "model", root / "snapshots" / commit)
    (root / "refs").mkdir()
    (root / "refs/main").write_text("a" * 40)
    one = Server([str(qguard), "serve", "Qwen/Demo", "--port", "0"], env={"HF_HUB_CACHE": str(tmp_path / "hub")})
    try:
        assert one.get("/v1/models").json()["data"][0]["id"] == "Qwen/Demo"
        (root / "refs/main").write_text("b" * 40)
        wait_for(one, "serves now in the place of", hup(one))
        assert one.get("/v1/models").json()["data"][0]["id"] == "Qwen/Demo"
        assert one.chat().status == 200
    finally:
        assert one.stop() == 0
