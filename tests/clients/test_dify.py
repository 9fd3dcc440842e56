"""Dify: the model client of its plugin SDK from PyPI, and the calls of its API extension.

Dify itself is not on PyPI.  Its model providers are: dify-plugin has the class behind "OpenAI-API-compatible".  What its
moderation does with `requests` (one POST with (5, 60) seconds, exactly 200, an `action` of two words) is written down here.
"""
import pathlib
import subprocess
import sys

import pytest
import requests

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "http"), str(HERE)]
from heavy import BOMB, PATIENCE_S, SAFE, SAYS, environment, without_proxies  # noqa: E402
from wire import Server  # noqa: E402

KEY = "a-long-key"
SCRIPT = """
import sys
from dify_plugin.entities.model.message import AssistantPromptMessage, UserPromptMessage
from dify_plugin.interfaces.model.openai_compatible.llm import OAICompatLargeLanguageModel
base, what, text = sys.argv[1:]
mode = "completion" if what == "completion" else "chat"
credentials = {"endpoint_url": base + "/v1", "api_key": "%s", "mode": mode, "context_size": "4096"}
llm = OAICompatLargeLanguageModel(model_schemas=[])
llm._get_num_tokens_by_gpt2 = len  # it would fetch a vocabulary from the internet
def ask(messages, **how):
    return llm._invoke("guard-model", credentials, messages, {"max_tokens": 64}, **how)
if what.startswith("validate"):
    llm.validate_credentials("guard-model", credentials | {"stream_mode_auth": what.split("-")[1]})
    print("SAID: fine")
elif what == "completion":
    llm.validate_credentials("guard-model", credentials)
    print("SAID: fine")
elif what == "stream":
    chunks = list(ask([UserPromptMessage(content=text)], stream=True))
    print("SAID:", "".join(c.delta.message.content for c in chunks), chunks[-1].delta.finish_reason,
          chunks[-1].delta.usage.total_tokens > 0)
else:
    before = [UserPromptMessage(content="Tell me."), AssistantPromptMessage(content=text)]
    answer = ask(before if what == "reply" else [UserPromptMessage(content=text)], stream=False)
    print("SAID:", answer.message.content, answer.usage.total_tokens > 0)
""" % KEY


@pytest.fixture(scope="module")
def guard(qguard):
    server = Server([str(qguard), "serve", "--port", "0", "--quiet", "--served-model-name", "guard-model", "--api-key", KEY])
    yield f"http://127.0.0.1:{server.port}"
    assert server.stop() == 0


@pytest.fixture(scope="module")
def plugin(guard, tmp_path_factory):
    python = environment("dify", "dify-plugin==0.7.4") / "python"
    script = tmp_path_factory.mktemp("dify") / "ask.py"
    script.write_text(SCRIPT)

    def ask(what, text=""):
        done = subprocess.run([python, script, guard, what, text], env=without_proxies(), capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.split("SAID:")[1].strip()

    return ask


@pytest.mark.heavy
@pytest.mark.parametrize("how", ["validate-not_use", "validate-use", "completion"])
def test_the_plugin_accepts_the_server(plugin, how):
    assert plugin(how) == "fine"


@pytest.mark.heavy
def test_the_plugin_reads_verdicts(plugin):
    assert plugin("invoke", BOMB) == "Safety: Unsafe\nCategories: Violent True"
    assert plugin("stream", SAFE) == "Safety: Safe\nCategories: None stop True"
    assert plugin("reply", SAYS["good"]).endswith("Refusal: No True")


# ---- the API extension ---------------------------------------------------------------------------

def call(guard, point, params, key=KEY):
    answer = requests.post(guard + "/dify", json={"point": point, "params": params}, timeout=(5, 60),
                           headers={"Content-Type": "application/json", "Authorization": f"Bearer {key}"})
    if answer.status_code != 200:
        raise ValueError(f"request error, status_code: {answer.status_code}, content: {answer.text[:100]}")
    return answer.json()


def moderated(guard, point, params):
    """As Dify's result classes take it: unknown members are dropped, known ones have their types."""
    result = call(guard, point, params)
    assert result["action"] in ("direct_output", "overridden") and isinstance(result["flagged"], bool)
    for name, kind in (("preset_response", str), ("inputs", dict), ("query", str), ("text", str)):
        assert isinstance(result.get(name, kind()), kind)
    return result["flagged"], result["preset_response"]


def test_saving_the_extension(guard):
    assert call(guard, "ping", {}) == {"result": "pong"}
    with pytest.raises(ValueError, match="401"):
        call(guard, "ping", {}, key="wrong")


@pytest.mark.parametrize("inputs, query, hit", [
    ({}, SAFE, False), ({}, BOMB, True), ({"name": BOMB}, SAFE, True), ({"name": "Ann", "n": 3, "f": {"a": 1}, "l": ["x"]}, SAFE, False),
    ({"text": BOMB}, "", True), ({}, "", False)])
def test_input(guard, inputs, query, hit):
    flagged, preset = moderated(guard, "app.moderation.input", {"app_id": "1", "inputs": inputs, "query": query})
    assert flagged == hit and bool(preset) == hit


def test_a_growing_output(guard):
    """The whole text so far, again and again, as its thread sends it."""
    text = "This is an answer that goes on for a while. " * 7 + SAYS["bad"] * 8
    seen = [moderated(guard, "app.moderation.output", {"app_id": "1", "text": text[:n]})[0]
            for n in [*range(300, len(text), 300), len(text)]]
    assert seen[0] is False and seen[-1] is True
