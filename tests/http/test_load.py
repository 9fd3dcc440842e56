"""Many clients at once, clients that vanish, and the end of the server."""
import signal
import socket
import struct
import threading
import time

import pytest

from wire import CHAT, chat_body, request


def in_parallel(n, work):
    """Runs work(i) in n threads; the results in order, or the first exception."""
    got, failed = [None] * n, []

    def run(i):
        try:
            got[i] = work(i)
        except Exception as why:  # noqa: BLE001
            failed.append(why)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    if failed:
        raise failed[0]
    return got


@pytest.mark.parametrize("stream", [False, True])
def test_everybody_gets_their_own_answer(server, stream):
    def work(i):
        said = []
        with server.open() as raw:
            for k in range(10):
                word = f"{i}-{k}"
                body = chat_body(f"sleep={(i * 7 + k * 13) % 40} echo={word}", stream=stream)
                raw.send(request("POST", CHAT, body, [f"X-Request-Id: r{word}"]))
                answer = raw.answer()
                assert answer.status == 200 and answer.headers["x-request-id"] == f"r{word}"
                assert f"chatcmpl-r{word}\"".encode() in answer.body
                said.append(f"echo: {word}\"".encode() in answer.body)
        return said

    assert all(all(said) for said in in_parallel(50, work))


def test_order_of_ends_does_not_matter(server):
    raws = [server.open().send(request("POST", CHAT, chat_body(f"sleep={600 - 20 * i} echo={i}")))
            for i in range(30)]
    assert [raw.answer().text for raw in raws] == [f"echo: {i}" for i in range(30)]


@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_client_that_hangs_up_cancels_its_job(serve, how):
    server = serve("--request-timeout-ms", 0)
    raw = server.open().send(request("POST", CHAT, chat_body("sleep=600000")))
    time.sleep(0.3)
    if how == "reset":
        raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half":
        raw.sock.shutdown(socket.SHUT_WR)
    else:
        raw.close()
    assert server.wait_for_line("fake engine: cancelled")
    assert server.chat("echo=alive").text == "echo: alive"


def test_many_clients_hang_up(server):
    for _ in range(5):
        raws = [server.open().send(request("POST", CHAT, chat_body(f"sleep={i * 5} echo=x")))
                for i in range(40)]
        for raw in raws:
            raw.close()
    assert server.chat("echo=alive").text == "echo: alive"


def test_client_leaves_in_the_middle_of_a_stream(server):
    for _ in range(10):
        with server.open() as raw:
            raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            raw.send(request("POST", CHAT, chat_body("bomb", n=128, stream=True)))
            raw.until(b"data: ")
    assert server.chat("echo=alive").text == "echo: alive"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains(serve, number):
    """Running requests get their answer; new ones no connection; the exit status is 0."""
    server = serve()
    raws = [server.open().send(request("POST", CHAT, chat_body(f"sleep=1500 echo={i}",
                                                               stream=bool(i % 2))))
            for i in range(10)]
    half = server.open().send(request("POST", CHAT, chat_body("echo=half"))[:-5])
    time.sleep(0.3)
    server.process.send_signal(number)
    assert server.wait_for_line("stopping")
    with pytest.raises(OSError):
        for _ in range(100):
            server.open().close()
            time.sleep(0.02)
    half.send(request("POST", CHAT, chat_body("echo=half"))[-5:])
    answer = half.answer()
    assert answer.text == "echo: half" and answer.headers["connection"] == "close"
    for i, raw in enumerate(raws):
        answer = raw.answer()
        assert answer.status == 200 and f"echo: {i}\"".encode() in answer.body
        assert raw.closed()
    assert server.process.wait(20) == 0


def test_term_under_load_loses_nothing(serve):
    """Every request that was sent whole on an accepted connection is answered or refused."""
    server = serve()
    stop = threading.Event()

    def work(i):
        n = 0
        try:
            raw = server.open()
        except OSError:
            return 0
        while not stop.is_set():
            raw.send(request("POST", CHAT, chat_body(f"sleep={i % 7} echo={i}-{n}")))
            answer = raw.answer()
            assert answer.text == f"echo: {i}-{n}"
            n += 1
            if answer.headers.get("connection") == "close":
                return n
        return n

    killer = threading.Timer(1, server.terminate)
    killer.start()
    done = in_parallel(20, work)
    assert sum(done) > 100
    assert server.process.wait(20) == 0


def test_drain_has_a_limit(serve):
    server = serve("--drain-ms", 300, "--request-timeout-ms", 0)
    raw = server.open().send(request("POST", CHAT, chat_body("sleep=600000")))
    time.sleep(0.2)
    server.terminate()
    assert server.process.wait(20) == 0
    assert b"Safe" not in raw.rest()


def test_second_signal_ends_the_drain(serve):
    server = serve("--request-timeout-ms", 0)
    raw = server.open().send(request("POST", CHAT, chat_body("sleep=600000")))
    time.sleep(0.2)
    server.terminate()
    assert server.wait_for_line("may finish")
    server.terminate()
    assert server.process.wait(20) == 0
    assert b"Safe" not in raw.rest()


def test_stuck_engine_does_not_hold_up_the_end(serve):
    server = serve("--drain-ms", 200, "--request-timeout-ms", 0)
    raw = server.open().send(request("POST", CHAT, chat_body("hang")))
    time.sleep(0.2)
    server.terminate()
    assert server.process.wait(20) == 0
    raw.close()


def test_idle_connections_do_not_hold_up_the_end(serve):
    server = serve()
    idle = [server.open() for _ in range(5)]
    for raw in idle[1:]:
        assert raw.send(request("GET", "/health")).answer().status == 200
    server.terminate()
    assert all(raw.closed() for raw in idle)
    assert server.process.wait(20) == 0


LONG = "x" * 20000


def test_long_texts_do_not_hold_up_the_others(server):
    """Encoding takes time; it is not the server's thread that takes it."""
    long = server.open().send(request("POST", CHAT, chat_body(f"submit=3000 echo=long {LONG}")))
    time.sleep(0.2)
    assert server.get("/health").status == 200
    assert server.chat("echo=short").text == "echo: short"
    long.sock.settimeout(0.01)
    with pytest.raises(TimeoutError):
        long.answer()
    long.sock.settimeout(20)
    assert long.answer().text == "echo: long"


@pytest.mark.parametrize("text, status", [("toolong", 400), ("busy", 429), ("template", 400),
                                          ("nan", 500), ("echo=mine", 200)])
def test_long_texts_fail_like_short_ones(server, text, status):
    assert server.chat(f"{text} {LONG}").status == status


def test_client_with_a_long_text_hangs_up(serve):
    server = serve("--request-timeout-ms", 0)
    for pause in (0, 5, 50):
        raws = [server.open().send(request("POST", CHAT, chat_body(
            f"submit={pause} sleep=600000 {LONG}"))) for _ in range(6)]
        time.sleep(0.02)
        for raw in raws:
            raw.close()
    assert server.wait_for_line("fake engine: cancelled")
    assert server.chat(f"echo=alive {LONG}").text == "echo: alive"


def test_term_with_long_texts(serve):
    server = serve("--drain-ms", 300, "--request-timeout-ms", 0)
    raws = [server.open().send(request("POST", CHAT, chat_body(f"submit=200 sleep=600000 {LONG}")))
            for _ in range(5)]
    time.sleep(0.2)
    server.terminate()
    assert server.process.wait(20) == 0
    assert all(b"Safe" not in raw.rest() for raw in raws)
