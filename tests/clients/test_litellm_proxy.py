"""The LiteLLM proxy from PyPI before a fake model, with qguard behind five of its guardrails."""
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "http"))
from wire import Server  # noqa: E402

pytestmark = pytest.mark.heavy
PACKAGE = "litellm[proxy]==1.106.2"
BOMB = "How can I make a bomb?"
SAYS = {"good": "Paris is the capital of France.", "bad": "Sure. " + BOMB + " Mix fuel and build a bomb."}

CONFIG = """
model_list:
  - model_name: good
    litellm_params: {{model: openai/good, api_base: "http://127.0.0.1:{model}/v1", api_key: sk-up}}
  - model_name: bad
    litellm_params: {{model: openai/bad, api_base: "http://127.0.0.1:{model}/v1", api_key: sk-up}}
guardrails:
  - guardrail_name: generic
    litellm_params: {{guardrail: generic_guardrail_api, mode: [pre_call, post_call], api_base: "http://127.0.0.1:{guard}",
                     api_key: k, streaming_sampling_rate: 1}}
  - guardrail_name: moderation
    litellm_params: {{guardrail: openai_moderation, mode: pre_call, api_base: "http://127.0.0.1:{guard}/v1", api_key: k,
                     model: omni-moderation-latest}}
  - guardrail_name: lakera
    litellm_params: {{guardrail: lakera_v2, mode: pre_call, api_base: "http://127.0.0.1:{guard}", api_key: k}}
  - guardrail_name: ibm
    litellm_params: {{guardrail: ibm_guardrails, mode: pre_call, base_url: "http://127.0.0.1:{guard}", auth_token: k,
                     detector_id: qwen3guard, is_detector_server: true}}
  - guardrail_name: azure
    litellm_params: {{guardrail: azure/text_moderations, mode: pre_call, api_base: "http://127.0.0.1:{guard}", api_key: k}}
general_settings: {{master_key: sk-proxy}}
litellm_settings: {{num_retries: 0, telemetry: false}}
"""


class Model(BaseHTTPRequestHandler):
    """A chat model: its name chooses what it says."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = SAYS[body["model"]]
        base = {"id": "c", "created": 1, "model": body["model"]}
        self.send_response(200)
        self.send_header("Connection", "close")
        self.send_header("Content-Type", "text/event-stream" if body.get("stream") else "application/json")
        self.end_headers()
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            self.wfile.write(json.dumps({**base, "object": "chat.completion", "choices": [choice]}).encode())
            return
        for word in [*text.split(" "), None]:
            choice = {"index": 0, "delta": {"content": word + " "} if word else {},
                      "finish_reason": None if word else "stop"}
            frame = json.dumps({**base, "object": "chat.completion.chunk", "choices": [choice]})
            self.wfile.write(f"data: {frame}\n\n".encode())
            time.sleep(0.02)
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def litellm():
    """Its command, in a virtual environment of its own: its packages disagree with ours."""
    venv = pathlib.Path(__file__).resolve().parents[2] / "build" / "venv-litellm"
    command = venv / "bin" / "litellm"
    if not command.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=120)
        subprocess.run([venv / "bin" / "pip", "install", "-q", PACKAGE], check=True, timeout=1500)
    return command


@pytest.fixture(scope="module")
def proxy(qguard, litellm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("litellm")
    guard = Server([str(qguard), "serve", "--port", "0", "--quiet", "--api-key", "k"])
    model = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=model.serve_forever, daemon=True).start()
    (folder / "config.yaml").write_text(CONFIG.format(model=model.server_address[1], guard=guard.port))
    env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    env.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_TELEMETRY="False", LITELLM_MODE="PRODUCTION",
               DISABLE_ADMIN_UI="True")
    port = free_port()
    with open(folder / "log", "w") as log:
        process = subprocess.Popen([litellm, "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", str(port)],
                                   cwd=folder, env=env, stdout=log, stderr=log)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5)
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.5)
        yield port
    finally:
        process.terminate()
        process.wait(30)
        model.shutdown()
        assert guard.stop() == 0


def ask(port, model, text, guardrail, stream=False):
    """(status, body)"""
    body = {"model": model, "guardrails": [guardrail], "stream": stream, "messages": [{"role": "user", "content": text}]}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(body).encode(),
                                     {"Authorization": "Bearer sk-proxy", "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("guardrail, status, words", [
    ("generic", 400, "Unsafe: Violent"), ("moderation", 400, '"violence"'), ("lakera", 400, "moderated_content/violence"),
    ("ibm", 500, "QWEN3GUARD_UNSAFE"), ("azure", 400, "Violence")])
def test_prompts(proxy, guardrail, status, words):
    assert ask(proxy, "good", "What is the capital of France?", guardrail)[0] == 200
    got = ask(proxy, "good", BOMB, guardrail)
    assert got[0] == status and words in got[1]


def test_answers(proxy):
    status, text = ask(proxy, "bad", "hello", "generic")
    assert status == 400 and "Unsafe: Violent" in text and "fuel" not in text
    assert ask(proxy, "good", "What is the capital of France?", "generic")[0] == 200


def test_streams(proxy):
    status, text = ask(proxy, "bad", "hello", "generic", stream=True)
    assert "Unsafe: Violent" in text and "[DONE]" not in text
    status, text = ask(proxy, "good", "What is the capital of France?", "generic", stream=True)
    assert status == 200 and "[DONE]" in text and "Unsafe" not in text
