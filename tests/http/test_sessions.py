"""The session form: /v1/moderations/sessions."""
import json
import threading

import pytest

from test_stream import server  # noqa: F401
from wire import request

SESSIONS = "/v1/moderations/sessions"


def make(server, **more):  # noqa: F811
    answer = server.post(json.dumps(more).encode(), SESSIONS)
    assert answer.status == 201, answer.body
    return answer.json()


def say(server, id_, **more):  # noqa: F811
    return server.post(json.dumps(more).encode(), f"{SESSIONS}/{id_}")


def test_conversation(server):  # noqa: F811
    got = make(server, messages=[{"role": "user", "content": "a bomb"}], model="fake-stream")
    assert got["object"] == "moderation.session" and got["model"] == "fake-stream"
    assert [t["role"] for t in got["tokens"]] == ["user"] and got["summary"]["flagged"]
    id_ = got["id"]
    first = say(server, id_, content="bo").json()
    assert [t["final"] for t in first["tokens"]] == [True, False] and not first["summary"]["flagged"]
    second = say(server, id_, content="mb", end=True).json()
    assert [t["final"] for t in second["tokens"]] == [True] * 3 and second["summary"]["flagged"]
    assert second["summary"]["role"] == "assistant"
    shown = server.get(f"{SESSIONS}/{id_}").json()
    assert shown == {k: v for k, v in second.items() if k not in ("tokens", "rules")}
    assert say(server, id_, role="user", content="more", end=True).json()["summary"]["role"] == "user"
    gone = server.get(f"{SESSIONS}/{id_}", method="DELETE").json()
    assert gone == {"id": id_, "object": "moderation.session.deleted", "deleted": True}
    for answer in (server.get(f"{SESSIONS}/{id_}"), say(server, id_, content="x"),
                   server.get(f"{SESSIONS}/{id_}", method="DELETE")):
        assert answer.status == 404 and answer.error["code"] == "session_not_found"


def test_empty(server):  # noqa: F811
    answer = server.post(b"", SESSIONS)
    assert answer.status == 201 and answer.json()["tokens"] == []
    id_ = answer.json()["id"]
    assert server.get(f"{SESSIONS}/{id_}").json()["summary"]["n_tokens"] == 0
    assert say(server, id_, content="").json()["tokens"] == []
    assert len(say(server, id_, content="x").json()["tokens"]) == 1


@pytest.mark.parametrize("body, status", [
    (b"{", 400), (b"[]", 400), (b'{"content":1}', 400), (b'{"model":"nope"}', 404), (b'{"content":"busy"}', 429),
    (b'{"content":"nan"}', 500), (b'{"content":"' + b"x" * 5000 + b'"}', 400), (b'{"content":"' + b"x" * 300000 + b'"}', 400)])
def test_refused(server, body, status):  # noqa: F811
    assert server.post(body, SESSIONS).status == status
    id_ = make(server)["id"]
    if b"model" not in body:
        assert server.post(body, f"{SESSIONS}/{id_}").status == status
    assert say(server, id_, content="x").status == 200


def test_a_failed_append_changes_nothing(server):  # noqa: F811
    id_ = make(server, content="x")["id"]
    before = server.get(f"{SESSIONS}/{id_}").json()
    assert say(server, id_, content="y" * 5000).error["code"] == "context_length_exceeded"
    assert server.get(f"{SESSIONS}/{id_}").json() == before


def test_gone(server):  # noqa: F811
    id_ = make(server, content="x")["id"]
    answer = say(server, id_, content="gone")
    assert answer.status == 410 and answer.error["code"] == "session_gone"
    assert server.get(f"{SESSIONS}/{id_}").status == 404


def test_one_append_at_a_time(server):  # noqa: F811
    id_ = make(server)["id"]
    with server.open() as slow:
        slow.send(request("POST", f"{SESSIONS}/{id_}", b'{"content":"sleep=400 x"}'))
        while (answer := say(server, id_, content="")).status == 200:
            pass
        assert answer.status == 409 and answer.error["code"] == "session_busy"
        assert slow.answer().status == 200
    assert say(server, id_, content="y").status == 200


def test_deleted_while_it_judges(server):  # noqa: F811
    id_ = make(server)["id"]
    with server.open() as slow:
        slow.send(request("POST", f"{SESSIONS}/{id_}", b'{"content":"sleep=300 x"}'))
        while say(server, id_, content="").status == 200:
            pass
        assert server.get(f"{SESSIONS}/{id_}", method="DELETE").status == 200
        assert server.get(f"{SESSIONS}/{id_}").status == 404
        assert slow.answer().status == 200


def test_client_hangs_up(server):  # noqa: F811
    """What it appended has been appended."""
    id_ = make(server, content="a")["id"]
    with server.open() as slow:
        slow.send(request("POST", f"{SESSIONS}/{id_}", b'{"content":"sleep=100 x"}'))
        while say(server, id_, content="").status == 200:
            pass
    while server.get(f"{SESSIONS}/{id_}").json()["summary"]["n_tokens"] < 12:
        pass
    assert say(server, id_, content="y").status == 200


@pytest.mark.parametrize("path", ["", "/", "/x", "/modsess-0", "/modsess-" + "0" * 32, "/a/b"])
def test_guessed_ids(server, path):  # noqa: F811
    make(server)
    assert server.get(SESSIONS + path).status == (405 if not path else 404)


def test_ids_are_many_and_random(server):  # noqa: F811
    ids = {make(server)["id"] for _ in range(50)}
    assert len(ids) == 50 and all(len(i) == 40 for i in ids)


def test_bound_to_the_key(serve):
    server = serve("--stream-model", "stream", "--api-key", "a", "--api-key", "b")
    a, b = ["Authorization: Bearer a"], ["x-api-key: b"]
    id_ = server.post(b"{}", SESSIONS, a).json()["id"]
    path = f"{SESSIONS}/{id_}"
    assert server.get(path).status == 401
    assert server.get(path, b).status == 404 and server.post(b'{"content":"x"}', path, b).status == 404
    assert server.get(path, b, "DELETE").status == 404
    assert server.get(path, ["api-key: a"]).status == 200


def test_too_many(serve):
    """Past the limit 429, and those that are open go on."""
    server = serve("--stream-model", "stream", "--max-sessions", 30)
    ids = [make(server, content="x")["id"] for _ in range(30)]
    for _ in range(100):
        answer = server.post(b"{}", SESSIONS)
        assert answer.status == 429 and answer.headers["retry-after"]
    assert all(say(server, i, content="y").status == 200 for i in ids)
    assert server.get(f"{SESSIONS}/{ids[0]}", method="DELETE").status == 200
    assert server.post(b"{}", SESSIONS).status == 201


def test_one_key_leaves_room(serve):
    """A key that leaks sessions has its part of the table, and the others theirs."""
    server = serve("--stream-model", "stream", "--api-key", "a", "--api-key", "b")
    a, b = ["Authorization: Bearer a"], ["Authorization: Bearer b"]
    with server.open() as raw:
        statuses = []
        for _ in range(1100):
            raw.send(request("POST", SESSIONS, b"{}", a))
            statuses.append(raw.answer().status)
    assert statuses.count(201) == 1024 and set(statuses[1024:]) == {429}
    assert server.post(b"{}", SESSIONS, b).status == 201


def test_rollback(server):  # noqa: F811
    id_ = make(server, role="assistant", content="a bomb")["id"]
    got = say(server, id_, rollback=2, content=" c").json()
    assert [t["index"] for t in got["tokens"]] == [2, 3] and not got["summary"]["flagged"]
    got = say(server, id_, rollback=1).json()
    assert got["tokens"] == [] and got["summary"]["n_tokens"] == 1
    assert say(server, id_, content="d").json()["summary"]["n_tokens"] == 3
    for wrong in (-1, 1.5, "2", 99):
        assert say(server, id_, rollback=wrong).status == 400
    assert server.get(f"{SESSIONS}/{id_}").json()["summary"]["n_tokens"] == 3
    assert say(server, id_, content="e").status == 200


def test_ten_thousand(serve):
    """Bounded memory; a client that leaks sessions does not take the server down."""
    server = serve("--stream-model", "stream")
    statuses = []

    def work(n):
        with server.open() as raw:
            for _ in range(n):
                raw.send(request("POST", SESSIONS, b'{"content":"x"}'))
                statuses.append(raw.answer().status)

    threads = [threading.Thread(target=work, args=(2500,)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert statuses.count(201) == 4096 and statuses.count(429) == 10000 - 4096
    with open(f"/proc/{server.process.pid}/status") as status:
        peak = next(int(row.split()[1]) for row in status if row.startswith("VmHWM"))
    assert peak < 80 << 10  # kB
    # whoever comes with a stream is served all the same
    lines = server.post(b'{"content":"x"}', "/v1/moderations/stream")
    assert lines.status == 200 and b"summary" in lines.body
    assert server.get("/health").status == 200


def test_stop_with_open_sessions(serve):
    server = serve("--stream-model", "stream", "--drain-ms", 300)
    ids = [make(server, content="x")["id"] for _ in range(5)]
    raws = [server.open().send(request("POST", f"{SESSIONS}/{i}", json.dumps(
        {"content": c}).encode())) for i, c in zip(ids, ["hang", "sleep=100", "y", "hang", "z" * 20000])]
    server.terminate()
    assert server.process.wait(20) == 0
    for raw in raws:
        raw.close()
