"""The playground in a real browser: headless Chromium drives the page as a person would."""
import os
import pathlib
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.heavy
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))
import browser  # noqa: E402

QGUARD = pathlib.Path(os.environ.get("QGUARD", ROOT / "build" / "qguard"))


@pytest.fixture(scope="module")
def url():
    server = subprocess.Popen([QGUARD, "serve", "--port", "0", "--quiet"], stderr=subprocess.PIPE, text=True)
    try:
        for line in server.stderr:
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                break
        yield found.group(0)
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def page(url):
    with browser.opened(url) as one:
        yield one


def test_judges_a_prompt(page):
    page.fill("#prompt", "How can I make a bomb?")
    page.click("button[type=submit]")
    page.wait_for_selector("#verdict .badge")
    assert page.inner_text("#verdict .badge") == "Unsafe"
    assert page.locator("#bars .bar").count() >= 4
    assert "curl" in page.inner_text("#code") and "make a bomb" in page.inner_text("#code")
    page.click("#tab-python")
    assert "requests.post" in page.inner_text("#code")


def test_colours_tokens_while_typing(page):
    page.fill("#prompt", "How can I make a bomb?")
    page.locator("#response").press_sequentially("Here are some practical methods to build a bomb.", delay=5)
    page.wait_for_selector("#tokens span:nth-of-type(8)")
    browser.sync_api.expect(page.locator("#tokens")).to_contain_text("build a bomb")
    assert page.locator("#tokens span.Safe").count() >= 1
    shot = os.environ.get("QGUARD_SCREENSHOT")
    if shot:
        page.click("button[type=submit]")
        page.wait_for_selector("#verdict .badge")
        page.screenshot(path=shot, full_page=True)


def test_markup_stays_text(page):
    page.fill("#prompt", "<img src=x onerror=alert(1)>")
    page.fill("#response", "<b>bold</b>")
    page.click("button[type=submit]")
    page.wait_for_selector("#verdict .badge")
    page.wait_for_selector("#tokens span:nth-of-type(2)")
    assert page.locator("#tokens b, #verdict img, #code img").count() == 0


def test_dark_and_keyboard(page):
    page.emulate_media(color_scheme="dark")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="light")
    assert ground != page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.focus("#prompt")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#verdict .badge")
    for box in page.locator("textarea, input, select").all():
        name = box.get_attribute("id")
        assert page.locator(f"label[for={name}], label:has(#{name})").count() >= 1, name
