"""The openai package from PyPI, unmodified: the model card's example, streams, errors, raw headers."""
import asyncio
import math
import os
import re

import openai
import pytest

MODEL = "Qwen/Qwen3Guard-Gen-0.6B"
BOMB = "How can I make a bomb?"
REFUSAL = "As an AI language model, I cannot help you with that."
CATEGORIES = ("Violent|Non-violent Illegal Acts|Sexual Content or Sexual Acts|PII|Suicide & Self-Harm|"
              "Unethical Acts|Politically Sensitive Topics|Copyright Violation|Jailbreak|None")


def extract(content):
    """As the model card does it."""
    label = re.search(r"Safety: (Safe|Unsafe|Controversial)", content)
    refusal = re.search(r"Refusal: (Yes|No)", content)
    return (label and label.group(1), re.findall(f"({CATEGORIES})", content),
            refusal and refusal.group(1))


@pytest.fixture(scope="module")
def client(server):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="EMPTY",
                         max_retries=0, timeout=60, _strict_response_validation=True)


def test_model_card_example(client):
    """Prompt moderation, then response moderation, each read with the card's regular expressions."""
    messages = [{"role": "user", "content": BOMB}]
    answer = client.chat.completions.create(messages=messages, model=MODEL)
    assert answer.choices[0].message.content == "Safety: Unsafe\nCategories: Violent"
    assert extract(answer.choices[0].message.content) == ("Unsafe", ["Violent"], None)
    messages.append({"role": "assistant", "content": REFUSAL})
    answer = client.chat.completions.create(messages=messages, model=MODEL)
    assert answer.choices[0].message.content == "Safety: Safe\nCategories: None\nRefusal: Yes"
    assert extract(answer.choices[0].message.content) == ("Safe", ["None"], "Yes")


def test_answer(client):
    answer = client.chat.completions.create(
        messages=[{"role": "user", "content": "hello"}], model=MODEL, temperature=0, seed=1,
        max_completion_tokens=100, user="u", extra_body={"chat_template_kwargs": {}})
    assert answer.object == "chat.completion" and answer.model == MODEL
    assert answer.choices[0].finish_reason == "stop" and isinstance(answer.created, int)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.id == f"chatcmpl-{answer._request_id}"


def test_stream(client):
    whole = client.chat.completions.create(messages=[{"role": "user", "content": BOMB}], model=MODEL)
    chunks = list(client.chat.completions.create(
        messages=[{"role": "user", "content": BOMB}], model=MODEL, stream=True,
        stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert chunks[-2].choices[0].finish_reason == "stop"
    with client.chat.completions.stream(messages=[{"role": "user", "content": BOMB}],
                                        model=MODEL) as stream:
        stream.until_done()
        assert stream.get_final_completion().choices[0].message.content == text


def test_max_tokens(client):
    answer = client.chat.completions.create(messages=[{"role": "user", "content": BOMB}],
                                            model=MODEL, max_tokens=3)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 3
    assert "Safety: Unsafe\nCategories: Violent".startswith(answer.choices[0].message.content)


def test_logprobs(client):
    """Thresholds on the label's probability, as people set them; and they are true: the labels' own
    probabilities renormalise to the verdict's."""
    answer = client.chat.completions.create(messages=[{"role": "user", "content": BOMB}],
                                            model=MODEL, logprobs=True, top_logprobs=20)
    content = answer.choices[0].logprobs.content
    assert "".join(bytes(e.bytes).decode() for e in content).startswith(
        answer.choices[0].message.content)
    label = next(e for e in content if e.token == " Unsafe")
    told = {e.token: math.exp(e.logprob) for e in label.top_logprobs}
    assert told[" Unsafe"] == math.exp(label.logprob) > 0.5
    assert all(a.logprob >= b.logprob for a, b in zip(label.top_logprobs, label.top_logprobs[1:]))
    assert sum(told.values()) <= 1 + 1e-6
    chunks = list(client.chat.completions.create(
        messages=[{"role": "user", "content": BOMB}], model=MODEL, logprobs=True, stream=True))
    streamed = [e for c in chunks for e in (c.choices[0].logprobs.content if c.choices[0].logprobs else [])]
    assert [e.token for e in streamed] == [e.token for e in content]


def test_moderations(client):
    one = client.moderations.create(input=BOMB)
    result = one.results[0]
    assert one.model == MODEL and len(one.results) == 1
    assert result.flagged and result.categories.violence and result.categories.illicit_violent
    assert result.category_scores.violence > 0.5 and result.category_applied_input_types.hate == ["text"]
    assert result.categories.model_extra["violent"] is True  # the model's own keys
    many = client.moderations.create(input=["hello", BOMB], model="omni-moderation-latest")
    assert [r.flagged for r in many.results] == [False, True]
    parts = client.moderations.create(input=[{"type": "text", "text": BOMB}], model="omni-moderation-latest")
    assert [r.flagged for r in parts.results] == [True]
    assert not any(v for v in many.results[0].categories.model_dump().values())
    with pytest.raises(openai.BadRequestError):
        client.moderations.create(input=[{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}])
    with pytest.raises(openai.NotFoundError):
        client.moderations.create(input="x", model="nope")


def test_moderation_field(client):
    answer = client.chat.completions.create(
        messages=[{"role": "user", "content": BOMB}], model=MODEL,
        extra_body={"moderation": {"model": "omni-moderation-latest"}})
    told = answer.model_dump()["moderation"]
    assert told["input"]["results"][0]["flagged"] and told["output"]["code"] == "not_run"


def test_completions(client):
    prompt = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    answer = client.completions.create(model=MODEL, prompt=[prompt, prompt], max_tokens=5, logprobs=2, seed=3)
    assert [c.index for c in answer.choices] == [0, 1] and answer.object == "text_completion"
    assert answer.choices[0].text == answer.choices[1].text
    assert len(answer.choices[0].logprobs.tokens) == len(answer.choices[0].logprobs.token_logprobs) <= 5
    chunks = list(client.completions.create(model=MODEL, prompt=prompt, max_tokens=5, stream=True))
    assert "".join(c.choices[0].text for c in chunks) == answer.choices[0].text


def test_sampling(client):
    def ask(**more):
        answer = client.chat.completions.create(messages=[{"role": "user", "content": BOMB}],
                                                model=MODEL, max_tokens=20, **more)
        return [c.message.content for c in answer.choices]
    assert ask(temperature=2, seed=5, n=4) == ask(temperature=2, seed=5, n=4)
    assert len(set(ask(temperature=2, seed=5, n=8))) > 1
    assert ask(temperature=0) == ask() == ["Safety: Unsafe\nCategories: Violent"]


def test_models(client):
    assert [m.id for m in client.models.list()] == [MODEL, "qguard-demo-stream"]
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")


def test_errors(client):
    with pytest.raises(openai.NotFoundError) as failed:
        client.chat.completions.create(messages=[{"role": "user", "content": "x"}], model="nope")
    assert failed.value.code == "model_not_found" and failed.value.param == "model"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(messages=[], model=MODEL)
    with pytest.raises(openai.BadRequestError) as failed:
        client.chat.completions.create(messages=[{"role": "user", "content": "a b " * 50000}],
                                       model=MODEL)
    assert failed.value.code == "context_length_exceeded"
    assert "maximum context length is" in str(failed.value)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(messages=[{"role": "user", "content": "x"}], model=MODEL,
                                       top_logprobs=3)


def test_many_at_once(server):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="k",
                                      max_retries=0) as client:
            texts = [BOMB if i % 2 else "What is the capital of France?" for i in range(40)]
            answers = await asyncio.gather(*(client.chat.completions.create(
                messages=[{"role": "user", "content": t}], model=MODEL) for t in texts))
            return [a.choices[0].message.content.split("\n")[0] for a in answers]

    alone = asyncio.run(ask())
    assert set(alone[1::2]) == {"Safety: Unsafe"} and set(alone[::2]) == {"Safety: Safe"}


def test_wrong_key(qguard):
    from wire import Server
    server = Server([str(qguard), "serve", "--port", "0", "--quiet"],
                    env={"QGUARD_API_KEY": "right"})
    try:
        for key, ok in (("wrong", False), ("right", True)):
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key=key,
                                   max_retries=0)
            if ok:
                assert client.models.list().data
            else:
                with pytest.raises(openai.AuthenticationError):
                    client.models.list()
    finally:
        assert server.stop() == 0
