"""HTTP/2 to the upstream: nghttpx (Debian's nghttp2-proxy) speaks it with a certificate of our own, before the scripted upstream."""
import shutil
import socket
import subprocess
import time

import pytest
from scripted import finish_of, saying, text_of

HELLO = ("Hello ", "dear ", "reader, ", "all is well.")


@pytest.fixture
def nghttpx(tmp_path):
    program = shutil.which("nghttpx") or shutil.which("nghttpx", path="/usr/sbin")
    if not program:
        pytest.skip("no nghttpx")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem",
                    "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                   cwd=tmp_path, check=True, capture_output=True)
    made = []

    def start(backend):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        log = tmp_path / f"access{len(made)}"
        made.append(subprocess.Popen(
            [program, "--conf=/dev/null", f"--frontend=127.0.0.1,{port}", f"--backend=127.0.0.1,{backend}", "--workers=1", "--no-ocsp",
             f"--accesslog-file={log}", "--accesslog-format=$alpn $request", f"--errorlog-file={tmp_path / 'errors'}",
             tmp_path / "key.pem", tmp_path / "cert.pem"], stderr=subprocess.DEVNULL))
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        return f"https://localhost:{port}/v1", log
    yield start
    for process in made:
        process.terminate()
        process.wait(20)


def wait_for(log, words):
    for _ in range(100):
        if log.exists() and words in log.read_text():
            return True
        time.sleep(0.05)
    return False


def test_streams_over_http2(upstream, gateway, nghttpx, tmp_path):
    url, log = nghttpx(upstream(saying(*HELLO, pause=0.02)).port)
    g = gateway(url, ca_file=tmp_path / "cert.pem")
    raws = [g.open_stream() for _ in range(8)]
    for raw in raws:
        answer = raw.answer()
        assert text_of(answer) == "".join(HELLO) and finish_of(answer) == ["stop"]
    assert g.ask(stream=False).text == "".join(HELLO)
    assert wait_for(log, "h2 POST /v1/chat/completions HTTP/2")


def test_a_hit_resets_the_stream(upstream, gateway, nghttpx, tmp_path):
    def script(conn, asked):
        conn.head()
        conn.delta("You take a bomb and then you go on.")
        conn.closed()
        return False
    up = upstream(script)
    url, log = nghttpx(up.port)
    answer = gateway(url, ca_file=tmp_path / "cert.pem").ask()
    assert "bomb" not in text_of(answer) and finish_of(answer) == ["content_filter"]
    assert up.aborted.wait(10) and wait_for(log, "h2 POST")


def test_a_stream_that_breaks(upstream, gateway, nghttpx, tmp_path):
    def script(conn, asked):
        conn.head()
        conn.delta("All is well and so on. ")
        return False
    url, _ = nghttpx(upstream(script).port)
    answer = gateway(url, ca_file=tmp_path / "cert.pem").ask()
    assert "All is well and so on. ".startswith(text_of(answer)) and b'"error"' in answer.body


def test_an_authority_that_is_not_trusted(upstream, gateway, nghttpx, tmp_path):
    up = upstream(saying(*HELLO))
    url, _ = nghttpx(up.port)
    g = gateway(url)
    assert g.ask().status == 502
    assert g.metric("qguard_gateway_upstream_errors_total", cause="tls") >= 1
    g = gateway(url.replace("localhost", "127.0.0.1"), ca_file=tmp_path / "cert.pem")  # another name than the certificate's
    assert g.ask().status == 502 and not up.requests
