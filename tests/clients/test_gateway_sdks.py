"""The openai and anthropic packages and LiteLLM's proxy, unmodified, through `qguard gateway` before a scripted model."""
import asyncio
import json
import pathlib
import socket
import subprocess
import sys

import openai
import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "http"), str(HERE)]
import chat_upstream  # noqa: E402
from chat_upstream import SAYS  # noqa: E402
from heavy import BOMB, PATIENCE_S, SAFE, environment, litellm_proxy, without_proxies  # noqa: E402
from wire import Server  # noqa: E402

LITELLM = """
model_list:
  - {{model_name: good, litellm_params: {{model: openai/good, api_base: "{url}/v1", api_key: sk-up}}}}
  - {{model_name: bad, litellm_params: {{model: openai/bad, api_base: "{url}/v1", api_key: sk-up}}}}
general_settings: {{master_key: sk-proxy}}
litellm_settings: {{num_retries: 0, telemetry: false}}
"""


@pytest.fixture(scope="module")
def upstream():
    one = chat_upstream.start()
    yield one
    one.close()


@pytest.fixture(scope="module")
def url(qguard, upstream):
    """Of the gateway, without /v1."""
    one = Server([str(qguard), "gateway", "--port", "0", "--upstream", upstream.url, "--threads", "1", "--quiet"])
    yield f"http://127.0.0.1:{one.port}"
    assert one.stop() == 0, one.lines[-20:]


@pytest.fixture(scope="module")
def client(url):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        yield openai.OpenAI(base_url=f"{url}/v1", api_key="clients-key", max_retries=0, timeout=60)


def user(text):
    return [{"role": "user", "content": text}]


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def is_cut(text):
    """A beginning of the bad reply that stops before what was found in it."""
    return SAYS["bad"].startswith(text) and "kill" not in text


def test_safe(client, upstream):
    answer = client.chat.completions.create(model="good", messages=user(SAFE))
    assert answer.choices[0].message.content == SAYS["good"] and answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == 10 and answer.id == "c1"
    assert upstream.requests[-1].headers["authorization"] == "Bearer clients-key"
    assert upstream.requests[-1].json["messages"] == user(SAFE)
    assert [model.id for model in client.models.list()] == list(SAYS)


def test_safe_stream(client):
    chunks = list(client.chat.completions.create(model="good", messages=user(SAFE), stream=True,
                                                 stream_options={"include_usage": True}))
    assert [c.choices[0].delta.content for c in chunks[:-2]] == chat_upstream.words(SAYS["good"])  # chunk by chunk
    assert chunks[-2].choices[0].finish_reason == "stop" and chunks[-1].usage.total_tokens == 10
    with client.chat.completions.stream(model="good", messages=user(SAFE)) as stream:
        stream.until_done()
        assert stream.get_final_completion().choices[0].message.content == SAYS["good"]


@pytest.mark.parametrize("stream", [False, True])
def test_prompt(client, upstream, stream):
    """Blocked before the upstream hears of it; what Azure OpenAI's clients look for is there."""
    before = len(upstream.requests)
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="good", messages=user(BOMB), stream=stream)
    assert raised.value.code == "content_filter" and raised.value.status_code == 400
    inner = raised.value.body["innererror"]
    assert inner["code"] == "ResponsibleAIPolicyViolation" and inner["content_filter_result"]["violent"]["filtered"] is True
    assert len(upstream.requests) == before


def test_reply(client):
    choice = client.chat.completions.create(model="bad", messages=user(SAFE)).choices[0]
    assert choice.finish_reason == "content_filter" and is_cut(choice.message.content)


def test_reply_stream(client):
    """As events, and with the SDK's own accumulator, which has an exception for a reply that was filtered."""
    chunks = list(client.chat.completions.create(model="bad", messages=user(SAFE), stream=True))
    text = text_of(chunks)
    assert text.startswith("Here is how") and is_cut(text)
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["content_filter"]
    with client.chat.completions.stream(model="bad", messages=user(SAFE)) as stream:
        assert "".join(event.delta for event in stream if event.type == "content.delta") == text
        with pytest.raises(openai.ContentFilterFinishReasonError):
            stream.get_final_completion()


def test_async(url):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as many:
            async def one(model):
                return text_of([c async for c in await many.chat.completions.create(
                    model=model, messages=user(SAFE), stream=True)])
            return await asyncio.gather(*map(one, ["good", "bad"] * 4))

    texts = asyncio.run(ask())
    assert set(texts[::2]) == {SAYS["good"]} and len(set(texts[1::2])) == 1 and is_cut(texts[1])


def test_upstream_error(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="nope", messages=user(SAFE))
    assert raised.value.code == "model_not_found" and raised.value.param == "model"


def test_upstream_away(qguard):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    one = Server([str(qguard), "gateway", "--port", "0", "--upstream", f"http://127.0.0.1:{port}/v1", "--threads", "1", "--quiet"])
    try:
        with pytest.raises(openai.APIStatusError) as raised:
            openai.OpenAI(base_url=f"http://127.0.0.1:{one.port}/v1", api_key="k", max_retries=0).chat.completions.create(
                model="good", messages=user(SAFE), stream=True)
        assert raised.value.status_code == 502 and raised.value.code == "upstream_error"
    finally:
        assert one.stop() == 0


@pytest.mark.heavy
@pytest.mark.parametrize("how", ["plain", "stream"])
def test_anthropic(url, upstream, how):
    python = environment("anthropic", "anthropic==2.13.0") / "python"

    def ask(model, text):
        done = subprocess.run([python, HERE / "gateway_anthropic.py", url, model, text, how], env=without_proxies(),
                              capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    pieces = chat_upstream.words(SAYS["good"]) if how == "stream" else None
    assert ask("good", SAFE) == {"text": SAYS["good"], "pieces": pieces, "stop_reason": "end_turn", "output_tokens": 7}
    asked = upstream.requests[-1]
    assert asked.path == "/v1/messages" and asked.headers["anthropic-version"]
    assert "Bearer clients-key" == asked.headers["authorization"]  # what this version of the SDK sends
    before = len(upstream.requests)
    got = ask("good", BOMB)
    assert (got["raised"], got["status"], got["body"]["error"]["type"]) == ("BadRequestError", 400, "invalid_request_error")
    assert len(upstream.requests) == before
    got = ask("bad", SAFE)
    assert got["stop_reason"] == "refusal" and is_cut(got["text"])


@pytest.fixture(scope="module")
def proxy(url, tmp_path_factory):
    with litellm_proxy(tmp_path_factory.mktemp("litellm"), LITELLM.format(url=url)) as port:
        yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="sk-proxy", max_retries=0, timeout=120)


@pytest.mark.heavy
@pytest.mark.timeout(600)  # the proxy takes minutes to start on a busy machine
def test_litellm(proxy):
    """The proxy before the gateway, and the openai package before the proxy."""
    def ask(model, text, **more):
        return proxy.chat.completions.create(model=model, messages=user(text), **more)

    assert ask("good", SAFE).choices[0].message.content == SAYS["good"]
    assert text_of(ask("good", SAFE, stream=True)) == SAYS["good"]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError):
            ask("good", BOMB, stream=stream)
    choice = ask("bad", SAFE).choices[0]
    assert choice.finish_reason == "content_filter" and is_cut(choice.message.content)
    chunks = list(ask("bad", SAFE, stream=True))
    assert is_cut(text_of(chunks)) and text_of(chunks)
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["content_filter"]
