"""Open WebUI from PyPI in Debian's Chromium: the guard as a model, and as the filter before and behind another model.

It is 7 GB to install and takes minutes to start, so it is run only where it was asked for: QGUARD_OPEN_WEBUI=1, or the
environment build/venv-openwebui is there already.
"""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "http"), str(HERE)]
from heavy import BOMB, SAFE, SAYS, environment, start_model, without_proxies  # noqa: E402
from wire import Server  # noqa: E402

READY = HERE.parents[1] / "build" / "venv-openwebui" / "ready"
CHROMIUM = shutil.which("chromium")
START_S = 600
pytestmark = [
    pytest.mark.heavy, pytest.mark.timeout(1800),
    pytest.mark.skipif(not (READY.exists() or os.environ.get("QGUARD_OPEN_WEBUI")), reason="Open WebUI (7 GB) was not asked for: QGUARD_OPEN_WEBUI=1"),
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine")]
GUARD = "guard-model"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def settings(folder, port, guard, model):
    urls = f"http://127.0.0.1:{guard}/v1;http://127.0.0.1:{guard};http://127.0.0.1:{model}/v1"
    off = ("ENABLE_OLLAMA_API", "ENABLE_PERSISTENT_CONFIG", "ENABLE_TITLE_GENERATION", "ENABLE_TAGS_GENERATION", "WEBUI_AUTH",
           "ENABLE_FOLLOW_UP_GENERATION", "ENABLE_AUTOCOMPLETE_GENERATION", "ANONYMIZED_TELEMETRY", "ENABLE_VERSION_UPDATE_CHECK")
    on = ("OFFLINE_MODE", "ENABLE_OPENAI_API", "DO_NOT_TRACK", "SCARF_NO_ANALYTICS")
    return without_proxies(DATA_DIR=str(folder), HF_HUB_OFFLINE="1", WEBUI_SECRET_KEY="some-long-text", RAG_EMBEDDING_ENGINE="openai",
                           OPENAI_API_BASE_URLS=urls, OPENAI_API_KEYS="k;k;k", CORS_ALLOW_ORIGIN=f"http://127.0.0.1:{port}",
                           MODELS_CACHE_TTL="0", **dict.fromkeys(off, "False"), **dict.fromkeys(on, "True"))


def wait_for(url, process, log):
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            return urllib.request.urlopen(url, timeout=5)
        except OSError:
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(1)
    raise AssertionError(f"not up after {START_S} s: {log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def site(qguard, tmp_path_factory):
    command = environment("openwebui", "open-webui==0.12.4") / "open-webui"
    folder = tmp_path_factory.mktemp("open-webui")
    guard = Server([str(qguard), "serve", "--port", "0", "--quiet", "--served-model-name", GUARD, "--api-key", "k"])
    model, port, log = start_model(), free_port(), folder / "log"
    with open(log, "w") as out:
        process = subprocess.Popen([command, "serve", "--host", "127.0.0.1", "--port", str(port)], cwd=folder, stdout=out, stderr=out,
                                   env=settings(folder / "data", port, guard.port, model.server_address[1]))
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield Site(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(60)
        model.shutdown()
        assert guard.stop() == 0


class Site:
    def __init__(self, url):
        self.url = url
        self.token = json.loads(self.call("POST", "/api/v1/auths/signin", {"email": "", "password": ""})[1])["token"]

    def call(self, method, path, body=None):
        headers = {"Content-Type": "application/json"}
        if hasattr(self, "token"):
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, json.dumps(body).encode() if body else None, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ask(self, model, text):
        return self.call("POST", "/api/chat/completions", {"model": model, "messages": [{"role": "user", "content": text}]})


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as play:
        one = play.chromium.launch(executable_path=CHROMIUM, headless=True,
                                   args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        yield one
        one.close()


def say(site, browser, model, text, wanted, picture=None):
    """The words on the page once `wanted` is among them."""
    page = browser.new_page(viewport={"width": 1100, "height": 800})
    page.goto(f"{site.url}/?models={model}", wait_until="domcontentloaded", timeout=180000)
    page.wait_for_selector("#chat-input", timeout=180000)
    try:
        page.locator("button:has-text(\"Okay, Let's Go!\")").click(timeout=5000)
    except Exception:  # only a fresh profile has that window
        pass
    page.click("#chat-input")
    page.keyboard.insert_text(text)
    page.keyboard.press("Enter")
    page.wait_for_selector("#messages-container", timeout=120000)
    try:
        page.get_by_text(wanted, exact=False).first.wait_for(timeout=120000)
    finally:
        words = page.locator("#messages-container").inner_text()
        if picture:
            page.screenshot(path=picture)
        page.close()
    return words


def test_models_and_filter(site):
    status, text = site.call("GET", "/api/models")
    assert status == 200 and {GUARD, "good", "bad"} <= {card["id"] for card in json.loads(text)["data"]}
    status, text = site.call("GET", "/api/v1/pipelines/list")
    assert status == 200 and json.loads(text)["data"], text


def test_the_api(site):
    assert SAYS["good"] in site.ask("good", SAFE)[1]
    status, text = site.ask("good", BOMB)
    assert status >= 400 and "Violent" in text
    assert "Safety: Unsafe" in site.ask(GUARD, BOMB)[1], "chats with the guard itself are not filtered"


def test_the_page(site, browser, tmp_path):
    assert "Paris" in say(site, browser, "good", SAFE, "Paris is the capital")
    blocked = say(site, browser, "good", BOMB, "Blocked: Violent", os.environ.get("QGUARD_PICTURE"))
    assert "Paris" not in blocked
    replaced = say(site, browser, "bad", "hello", "blocked by the safety policy")
    assert "fuel" not in replaced
    assert "Categories: Violent" in say(site, browser, GUARD, BOMB, "Safety: Unsafe")
