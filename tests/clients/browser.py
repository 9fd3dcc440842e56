"""A page in headless Chromium that must end without a complaint: what tests of built-in pages share."""
import contextlib
import shutil

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@contextlib.contextmanager
def opened(site, path="/", size=(1280, 900), expected=()):
    """The page site + path.  A problem is an error on the console, but those with a word of expected,
    an exception, and a request to anywhere but the site."""
    if not CHROMIUM:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        problems = []

        def on_console(message):
            if message.type == "error" and not any(word in message.text for word in expected):
                problems.append(message.text)
        page.on("console", on_console)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith((site, "data:")) else problems.append(r.url))
        page.goto(site + path)
        yield page
        assert problems == []
        browser.close()
