"""The LiteLLM proxy from PyPI before a fake model, with qguard behind five of its guardrails."""
import json
import pathlib
import sys
import urllib.error
import urllib.request

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent.parent / "http"), str(pathlib.Path(__file__).resolve().parent)]
from heavy import BOMB, SAFE, litellm_proxy, start_model  # noqa: E402
from wire import Server  # noqa: E402

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]  # the proxy takes minutes to start on a busy machine

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


@pytest.fixture(scope="module")
def proxy(qguard, tmp_path_factory):
    guard = Server([str(qguard), "serve", "--port", "0", "--quiet", "--api-key", "k"])
    model = start_model()
    config = CONFIG.format(model=model.server_address[1], guard=guard.port)
    with litellm_proxy(tmp_path_factory.mktemp("litellm"), config) as port:
        yield port
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
    assert ask(proxy, "good", SAFE, guardrail)[0] == 200
    got = ask(proxy, "good", BOMB, guardrail)
    assert got[0] == status and words in got[1]


def test_answers(proxy):
    status, text = ask(proxy, "bad", "hello", "generic")
    assert status == 400 and "Unsafe: Violent" in text and "fuel" not in text
    assert ask(proxy, "good", SAFE, "generic")[0] == 200


def test_streams(proxy):
    status, text = ask(proxy, "bad", "hello", "generic", stream=True)
    assert "Unsafe: Violent" in text and "[DONE]" not in text
    status, text = ask(proxy, "good", SAFE, "generic", stream=True)
    assert status == 200 and "[DONE]" in text and "Unsafe" not in text
