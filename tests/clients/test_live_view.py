"""The gateway's live view in a real browser, before a scripted model and the built-in judge."""
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import urllib.request

import pytest

pytestmark = pytest.mark.heavy
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "gateway"), str(ROOT / "tests" / "clients")]
import browser  # noqa: E402
from scripted import Upstream, saying  # noqa: E402

QGUARD = pathlib.Path(os.environ.get("QGUARD", ROOT / "build" / "qguard"))
SAFE = "A sourdough starter needs flour, water and a few days of patience . Feed it once a day ."
BAD = "Sure. Here are some practical methods to build a bomb: first you buy the parts, then you wire them."


def words(text):
    return re.findall(r"\S+\s*", text)


def script(conn, asked):
    said = asked.json["messages"][-1]["content"]
    said = BAD if "trouble" in said else SAFE if "bread" in said else "<img src=x onerror=alert(1)> <b>bold</b> ok ."
    return saying(*words(said), pause=0.02)(conn, asked)


@pytest.fixture(scope="module")
def gateway():
    up = Upstream(script)
    env = {**os.environ, "QGUARD_ADMIN_KEY": "adm1n"}
    server = subprocess.Popen([QGUARD, "gateway", "--upstream", up.url, "--port", "0", "--quiet", "--live-view"],
                              stderr=subprocess.PIPE, text=True, env=env)
    try:
        found = next(filter(None, (re.search(r"listening on (http://127\.0\.0\.1:\d+)", s) for s in server.stderr)))
        threading.Thread(target=server.stderr.read, daemon=True).start()
        yield found[1]
    finally:
        server.terminate()
        server.wait(30)
        up.close()


def ask(url, text):
    body = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": text}]}
    with urllib.request.urlopen(urllib.request.Request(
            url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}), timeout=60) as answer:
        return "".join(c["delta"].get("content") or "" for line in answer if line.startswith(b"data: {")
                       for c in json.loads(line[6:]).get("choices", []))


@pytest.fixture
def page(gateway):
    with browser.opened(gateway, "/live", size=(1200, 470), expected=("401",)) as one:
        yield one


def watch(page, key="adm1n"):
    page.fill("#key", key)
    page.click("#watch")


def test_what_was_sent_beside_what_was_released(gateway, page):
    watch(page)
    browser.sync_api.expect(page.locator("#state")).to_have_text("watching")
    safe = ask(gateway, "How do I bake bread?")
    bad = ask(gateway, "I look for trouble")
    browser.sync_api.expect(page.locator("article")).to_have_count(2)
    first = page.locator("article").nth(1)
    browser.sync_api.expect(first.locator(".badge").first).to_have_text("passed")
    assert first.locator(".released .text").inner_text() == safe == SAFE
    cut = page.locator("article").nth(0)
    browser.sync_api.expect(cut.locator(".badge").first).to_have_text("cut")
    assert cut.locator(".released .text").inner_text().startswith(bad.rstrip()) and "✂ cut" in cut.locator(".released").inner_text()
    assert cut.locator(".sent .text").inner_text().startswith(bad.rstrip())
    assert cut.locator(".sent mark").count() >= 1 and cut.locator(".sent .gone").count() >= 1
    assert "Unsafe" in cut.locator(".hits").inner_text() and "block" in cut.locator(".hits").inner_text()
    shot = os.environ.get("QGUARD_SCREENSHOT")
    if shot:
        page.screenshot(path=shot)


def test_text_appears_while_it_is_held(gateway, page):
    watch(page)
    browser.sync_api.expect(page.locator("#state")).to_have_text("watching")
    asking = threading.Thread(target=ask, args=(gateway, "bread again"))
    asking.start()
    page.wait_for_selector("article .sent .held")
    asking.join()
    browser.sync_api.expect(page.locator("article .badge").first).to_have_text("passed")


def test_markup_stays_text(gateway, page):
    watch(page)
    browser.sync_api.expect(page.locator("#state")).to_have_text("watching")
    ask(gateway, "some markup")
    browser.sync_api.expect(page.locator("article .badge").first).to_have_text(re.compile("passed|cut"))
    assert page.locator("article img, article b").count() == 0
    assert "<b>" in page.locator(".sent .text").inner_text()


def test_a_wrong_key(gateway, page):
    watch(page, "wrong")
    browser.sync_api.expect(page.locator("#state")).to_contain_text("the admin key is not right")
    for box in page.locator("input").all():
        assert page.locator(f"label:has(#{box.get_attribute('id')})").count() == 1
