"""The probe behind /health: an engine from which nothing comes is asked for one token."""
import json
import time

import pytest

from wire import CHAT, chat_body

SESSIONS = "/v1/moderations/sessions"
QUICK = ("--probe-ms", 100, "--stuck-ms", 400, "--request-timeout-ms", 0, "--drain-ms", 100)


def turns(server, status, seconds=20):
    end = time.monotonic() + seconds
    while server.get("/health").status != status:
        assert time.monotonic() < end
        time.sleep(0.05)
    return server.get("/health")


def gauge(server, name):
    lines = server.get("/metrics").body.decode().splitlines()
    return [float(line.split()[-1]) for line in lines if line.startswith(name)][0]


def test_idle_server_whose_engine_hangs_turns_red(serve):
    server = serve(*QUICK)
    assert server.chat("freeze").status == 200  # all that was asked is answered
    answer = turns(server, 503)
    assert "does not answer" in answer.error["message"]
    assert gauge(server, "qwen3guard_healthy") == 0


def test_so_does_one_whose_stream_engine_hangs(serve):
    server = serve("--stream-model", "stream", *QUICK)
    assert server.post(json.dumps({"messages": [{"role": "user", "content": "freeze"}]}).encode(), SESSIONS).status == 201
    assert "does not answer" in turns(server, 503).error["message"]
    assert server.chat("hi").status == 200  # the other engine is well


def test_without_probes_an_idle_server_stays_green(serve):
    server = serve(*QUICK[2:], "--probe-ms", 0)
    assert server.chat("freeze").status == 200
    time.sleep(1.5)
    assert server.get("/health").status == 200


def test_probes_disturb_nobody(serve):
    """Neither counted nor kept: the one session that may be open is the caller's."""
    server = serve("--stream-model", "stream", "--max-sessions", 1, *QUICK)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        assert server.get("/health").status == 200
        time.sleep(0.05)
    assert gauge(server, "vllm:request_success_total") == 0
    server.chat("hi")
    time.sleep(0.5)
    assert gauge(server, "vllm:request_success_total") == 1
    page = server.get("/metrics").body.decode()
    assert all(line.endswith(" 0") for line in page.splitlines() if line.startswith("qwen3guard_failures_total{"))
    answer = [server.post(b"{}", SESSIONS).status for _ in range(3)]
    assert 201 in answer
    time.sleep(1)  # no place for a probe: that says nothing about the engine
    assert server.get("/health").status == 200


@pytest.mark.parametrize("text", ["sleep=1500 echo=late", "echo=soon"])
def test_work_is_not_taken_for_a_hang(serve, text):
    server = serve(*QUICK[:2], "--stuck-ms", 3000, *QUICK[4:])
    for _ in range(2):
        assert server.post(chat_body(text), CHAT).status == 200
        assert server.get("/health").status == 200


def test_numbers_that_are_none(serve):
    server = serve(*QUICK)
    server.chat("wreck")
    assert "no valid numbers" in turns(server, 503).error["message"]
    assert server.chat("hi").status == 500
    assert server.chat("repair").status == 200
    turns(server, 200)
