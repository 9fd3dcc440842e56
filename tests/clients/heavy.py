"""For the heavy tests: packages in environments of their own, and a chat model that says what its name asks for."""
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BOMB = "How can I make a bomb?"
SAFE = "What is the capital of France?"
PATIENCE_S = 600  # for one run of a client: importing it takes a minute where others work, too
SAYS = {"good": "Paris is the capital of France.", "bad": "Sure. " + BOMB + " Mix fuel and build a bomb."}


def environment(name, *packages):
    """Folder of the commands of build/venv-NAME, made when it is not there: these packages disagree with each other."""
    venv = pathlib.Path(__file__).resolve().parents[2] / "build" / f"venv-{name}"
    if not (venv / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=120)
        subprocess.run([venv / "bin" / "pip", "install", "-q", *packages], check=True, timeout=1500)
        (venv / "ready").write_text("")
    return venv / "bin"


def without_proxies(**more):
    return {**{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}, **more}


class _Model(BaseHTTPRequestHandler):
    def do_GET(self):
        cards = [{"id": name, "object": "model", "created": 1, "owned_by": "tests"} for name in SAYS]
        body = json.dumps({"object": "list", "data": cards}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

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


def start_model(port=0):
    """The server of the models "good" and "bad"; its port is server_address[1]."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@contextlib.contextmanager
def litellm_proxy(folder, config):
    """The LiteLLM proxy with this configuration, on the port it yields; its log lies in the folder."""
    litellm = environment("litellm", "litellm[proxy]==1.106.2") / "litellm"
    (folder / "config.yaml").write_text(config)
    env = without_proxies(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_TELEMETRY="False",
                          LITELLM_MODE="PRODUCTION", DISABLE_ADMIN_UI="True")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen([litellm, "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", str(port)],
                                   cwd=folder, env=env, stdout=log, stderr=log)
    try:
        for _ in range(1000):
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
