"""POST /v1/chat/completions: requests, answers, streams, errors."""
import json
import re

import pytest

from wire import CHAT, chat_body, request


def frames(answer):
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    text = answer.body.decode()
    assert text.endswith("data: [DONE]\n\n") and "\r" not in text
    lines = text.split("\n\n")[:-2]
    assert all(line.startswith("data: {") and "\n" not in line for line in lines)
    return [json.loads(line[6:]) for line in lines]


def test_plain(server):
    answer = server.chat("How can I make a bomb?")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    got = answer.json()
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{32}", got["id"])
    assert got["id"] == "chatcmpl-" + answer.headers["x-request-id"]
    assert got["object"] == "chat.completion" and got["model"] == "fake-guard"
    assert isinstance(got["created"], int) and 0 < got["created"] < 2**32
    text = "Safety: Unsafe\nCategories: Violent"
    assert got["choices"] == [{
        "index": 0, "logprobs": None, "finish_reason": "stop", "stop_reason": None,
        "message": {"role": "assistant", "content": text, "refusal": None, "tool_calls": []}}]
    assert got["usage"] == {"prompt_tokens": 22, "completion_tokens": len(text) + 1,
                            "total_tokens": 22 + len(text) + 1, "prompt_tokens_details": None}


def test_response_moderation(server):
    answer = server.post(json.dumps({"messages": [
        {"role": "system", "content": "be good"}, {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "no"}]}).encode())
    assert answer.text == "Safety: Safe\nCategories: None\nRefusal: No"


@pytest.mark.parametrize("content, n", [
    ("bomb", 4), ([], 0), ([{"type": "text", "text": "bo"}], 2),
    ([{"type": "text", "text": "bo"}, {"type": "text", "text": "mb"}], 4),
    ("a\u0000b", 3), ("é😀", 6), ([{"type": "text", "text": "a\u0000"}], 2)])
def test_content_forms(server, content, n):
    answer = server.chat(content)
    assert answer.status == 200
    assert answer.json()["usage"]["prompt_tokens"] == n
    assert ("Unsafe" in answer.text) == (n == 4)


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool", "odd"])
def test_roles(server, role):
    body = json.dumps({"messages": [{"role": role, "content": "hi", "tool_call_id": "x"}]})
    assert server.post(body.encode()).status == 200


@pytest.mark.parametrize("before", [[], ["user"], ["system"], ["assistant"], ["user", "assistant"], ["tool"]])
@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool", "odd"])
def test_what_is_judged_is_shown(server, before, role):
    """The Gen template drops messages of some roles and places (so does the fake engine): the last one is never lost."""
    messages = [{"role": r, "content": "hi"} for r in before] + [{"role": role, "content": "bomb"}]
    answer = server.post(json.dumps({"messages": messages}).encode())
    assert answer.text.startswith("Safety: Unsafe")
    reply = role == "assistant" or (role == "system" and not before)
    assert ("Refusal" in answer.text) == reply


def test_message_without_content(server):
    body = json.dumps({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]},
                                    {"role": "user", "content": "hello"}]})
    assert server.post(body.encode()).status == 200


@pytest.mark.parametrize("last", [{"role": "user", "content": None},
                                  {"role": "assistant", "tool_calls": None},
                                  {"role": "assistant", "content": None, "tool_calls": []}])
def test_nothing_to_judge_is_not_safe(server, last):
    body = json.dumps({"messages": [{"role": "user", "content": "hello"}, last]})
    answer = server.post(body.encode())
    assert answer.status == 400 and answer.error["param"] == "body.messages.1.content"
    assert "no text to judge" in answer.error["message"]


EXTRAS = {
    "temperature": 1e-20, "top_p": 1, "top_k": -1, "seed": 3, "frequency_penalty": 0.5,
    "logit_bias": {"1": 2}, "tools": [], "tool_choice": "none", "user": "u", "metadata": {"a": "b"},
    "response_format": {"type": "text"}, "chat_template_kwargs": {"enable_thinking": False},
    "reasoning_effort": "low", "parallel_tool_calls": True, "priority": 0, "ignore_eos": False,
    "min_tokens": 0, "stop": None, "max_tokens": None, "max_completion_tokens": None, "n": None,
    "stream": None, "stream_options": None, "logprobs": None, "top_logprobs": 0, "model": None,
    "whatever": [[{"deep": [1, 2.5, None]}]], "store": False, "stop_token_ids": []}


def test_unknown_fields_are_ignored(server):
    assert server.chat("bomb", **EXTRAS).text.startswith("Safety: Unsafe")


@pytest.mark.parametrize("body, param, words", [
    (b"", None, "line 1"), (b"{", None, "line 1"), (b"[]", "body", "object"), (b"7", None, ""),
    (b'{"messages":[],"messages":[]}', None, "duplicate"),
    (b'{"messages":[{"role":"user","content":"\xff"}]}', None, "decode"),
    (b'{"messages":[{"role":"user","content":"\xed\xa0\x80"}]}', None, "decode"),
    (b'{"messages":[{"role":"user","content":"\\ud800"}]}', None, ""),
    (b'{"messages":[{"role":"user","content":"x"}]} x', None, "end of file"),
    (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", None, "deeper"),
    (b"{}", "body.messages", "missing"),
    (b'{"messages":null}', "body.messages", "array"),
    (b'{"messages":"x"}', "body.messages", "array"),
    (b'{"messages":[]}', "body.messages", "empty"),
    (b'{"messages":[1]}', "body.messages.0", "object"),
    (b'{"messages":[{}]}', "body.messages.0.role", "role"),
    (b'{"messages":[{"role":1,"content":"x"}]}', "body.messages.0.role", "role"),
    (b'{"messages":[{"role":"","content":"x"}]}', "body.messages.0.role", "role"),
    (b'{"messages":[{"role":"us\\u0000er","content":"x"}]}', "body.messages.0.role", "role"),
    (b'{"messages":[{"role":"user"}]}', "body.messages.0.content", "content"),
    (b'{"messages":[{"role":"user","contents":"bomb"}]}', "body.messages.0.content", "content"),
    (b'{"messages":[{"role":"user","content":1}]}', "body.messages.0.content", "string"),
    (b'{"messages":[{"role":"user","content":{}}]}', "body.messages.0.content", "string"),
    (b'{"messages":[{"role":"user","content":["x"]}]}', "body.messages.0.content.0", "object"),
    (b'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}',
     "body.messages.0.content.0.type", "text"),
    (b'{"messages":[{"role":"user","content":[{"text":"x"}]}]}', "body.messages.0.content.0.type",
     "text"),
    (b'{"messages":[{"role":"user","content":[{"type":"text","text":1}]}]}',
     "body.messages.0.content.0.text", "string")])
def test_bad_bodies(server, body, param, words):
    answer = server.post(body)
    assert answer.status == 400
    error = answer.error
    assert error["param"] == param and error["code"] is None
    assert words.lower() in error["message"].lower()
    assert error["type"] in ("Bad Request", "BadRequestError")


@pytest.mark.parametrize("more, param", [
    ({"stream": 1}, "body.stream"), ({"stream": "true"}, "body.stream"),
    ({"model": 5}, "body.model"), ({"max_tokens": 0}, "body.max_tokens"),
    ({"max_tokens": -1}, "body.max_tokens"), ({"max_tokens": 1.5}, "body.max_tokens"),
    ({"max_completion_tokens": "1"}, "body.max_completion_tokens"),
    ({"n": 0}, "body.n"), ({"n": 129}, "body.n"), ({"n": "2"}, "body.n"),
    ({"stop": 1}, "body.stop"), ({"stop": [1]}, "body.stop"), ({"stop": ["x"] * 17}, "body.stop"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": False, "stream_options": {}}, "stream_options"),
    ({"stream": True, "stream_options": 1}, "body.stream_options"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "body.stream_options.include_usage"),
    ({"logprobs": True, "top_logprobs": 21}, "body.top_logprobs"),
    ({"logprobs": True, "top_logprobs": -1}, "body.top_logprobs"),
    ({"logprobs": 1}, "body.logprobs"), ({"top_logprobs": 3}, "top_logprobs"),
    ({"temperature": -1}, "body.temperature"), ({"temperature": "1"}, "body.temperature"),
    ({"top_p": 1.5}, "body.top_p"), ({"top_k": -2}, "body.top_k"), ({"seed": 1.5}, "body.seed"),
    ({"presence_penalty": 3}, "body.presence_penalty"), ({"logit_bias": [1]}, "body.logit_bias"),
    ({"logit_bias": {"x": 1}}, "body.logit_bias"), ({"logit_bias": {"1": "x"}}, "body.logit_bias"),
    ({"logit_bias": {"-1": 1}}, "body.logit_bias"), ({"stop_token_ids": 5}, "body.stop_token_ids"),
    ({"stop_token_ids": [1, -1]}, "body.stop_token_ids.1"), ({"stop": "x" * 1025}, "body.stop")])
def test_bad_options(server, more, param):
    answer = server.chat("hi", **more)
    assert answer.status == 400 and answer.error["param"] == param


def test_unknown_model(server):
    answer = server.chat("hi", model="foo")
    assert answer.status == 404
    assert answer.error == {"message": "The model `foo` does not exist.", "type": "NotFoundError",
                            "param": "model", "code": "model_not_found"}
    assert server.chat("hi", model="é" * 5000).status == 404
    assert server.chat("hi", model="").status == 200
    assert server.chat("hi", model="fake-guard").status == 200


@pytest.mark.parametrize("limit, text, reason", [
    (1, "S", "length"), (7, "Safety:", "length"), (29, "Safety: Safe\nCategories: None", "length"),
    (30, "Safety: Safe\nCategories: None", "stop"), (1000, "Safety: Safe\nCategories: None", "stop")])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_max_tokens(server, name, limit, text, reason):
    for stream in (False, True):
        answer = server.chat("hi", **{name: limit}, stream=stream)
        if stream:
            got = frames(answer)
            assert "".join(f["choices"][0]["delta"]["content"] for f in got) == text
            assert got[-1]["choices"][0]["finish_reason"] == reason
        else:
            got = answer.json()
            assert answer.text == text and got["choices"][0]["finish_reason"] == reason
            assert got["usage"]["completion_tokens"] == min(limit, 30)


def test_max_completion_tokens_wins(server):
    assert server.chat("hi", max_tokens=1, max_completion_tokens=3).text == "Saf"


def test_unfinished_text_is_length(server):
    got = server.chat("unfinished").json()
    assert got["choices"][0]["finish_reason"] == "length"
    assert got["usage"]["completion_tokens"] == 29


@pytest.mark.parametrize("stop, text, reason, tokens", [
    ("\n", "Safety: Safe", "\n", 13), (["zzz", "Cat"], "Safety: Safe\n", "Cat", 16),
    ("zzz", "Safety: Safe\nCategories: None", None, 30), ([], "Safety: Safe\nCategories: None", None, 30),
    ("S", "", "S", 1), (["None", ":"], "Safety", ":", 7)])
def test_stop(server, stop, text, reason, tokens):
    got = server.chat("hi", stop=stop).json()
    choice = got["choices"][0]
    assert choice["message"]["content"] == text and choice["finish_reason"] == "stop"
    assert choice["stop_reason"] == reason and got["usage"]["completion_tokens"] == tokens


def test_stop_in_a_stream(server):
    got = frames(server.chat("hi", stop="\n", stream=True))
    assert got[-1]["choices"][0]["stop_reason"] == "\n"


def test_n_copies(server):
    got = server.chat("bomb", n=3).json()
    assert [c["index"] for c in got["choices"]] == [0, 1, 2]
    assert len({c["message"]["content"] for c in got["choices"]}) == 1
    assert got["usage"]["completion_tokens"] == 3 * 35
    assert len(frames(server.chat("bomb", n=2, stream=True))) == 6


def test_logprobs(server):
    got = server.chat("bomb", logprobs=True, top_logprobs=2).json()
    choice = got["choices"][0]
    content = choice["logprobs"]["content"]
    assert len(content) == got["usage"]["completion_tokens"] == 35  # the end token too
    assert "".join(e["token"] for e in content) == choice["message"]["content"]
    assert content[0] == {"token": "S", "logprob": -0.25, "bytes": [83], "top_logprobs": [
        {"token": "S", "logprob": -0.25, "bytes": [83]},
        {"token": "T", "logprob": -1.25, "bytes": [84]}]}
    for e in content:
        assert isinstance(e["logprob"], float) and len(e["top_logprobs"]) == 2
    got = server.chat("bomb", logprobs=True, max_tokens=3).json()["choices"][0]
    assert [e["token"] for e in got["logprobs"]["content"]] == ["S", "a", "f"]
    assert all(e["top_logprobs"] == [] for e in got["logprobs"]["content"])
    assert got["finish_reason"] == "length"


def test_logprobs_in_a_stream(server):
    got = frames(server.chat("bomb", logprobs=True, top_logprobs=1, stream=True))
    told = [f["choices"][0]["logprobs"] for f in got]
    assert told[0] is None and told[2] is None
    assert [e["token"] for e in told[1]["content"]][:3] == ["S", "a", "f"]


@pytest.mark.parametrize("stop, text, tokens", [("\n", "Safety: Safe", 13), (["zzz", "ty"], "Safe", 6)])
def test_stop_while_decoding(server, stop, text, tokens):
    got = server.chat("hi", stop=stop, logprobs=True).json()
    choice = got["choices"][0]
    assert choice["message"]["content"] == text and choice["finish_reason"] == "stop"
    assert choice["stop_reason"] == (stop if isinstance(stop, str) else "ty")
    assert got["usage"]["completion_tokens"] == tokens == len(choice["logprobs"]["content"])


def test_stop_tokens(server):
    got = server.chat("hi", stop_token_ids=[58, 999]).json()  # 58 is ':'
    choice = got["choices"][0]
    assert choice["message"]["content"] == "Safety" and choice["stop_reason"] == 58
    assert choice["finish_reason"] == "stop" and got["usage"]["completion_tokens"] == 7


def test_sampling(server):
    one = server.chat("hi", temperature=0.7, seed=12, n=3).json()
    texts = [c["message"]["content"] for c in one["choices"]]
    assert texts[0] == "sampled 12" and len(set(texts)) == 3
    assert server.chat("hi", temperature=0.7, seed=12, n=3).json()["choices"] == one["choices"]
    assert one["usage"]["prompt_tokens"] == 2
    free = {server.chat("hi", temperature=1).text for _ in range(5)}
    assert len(free) == 5
    for zero in ({"temperature": 0}, {"temperature": 1e-20}, {"temperature": 1, "top_p": 0}, {"top_p": 0.5}):
        assert server.chat("hi", **zero).text == "Safety: Safe\nCategories: None"


@pytest.mark.parametrize("more", [{}, {"logprobs": True}, {"temperature": 1, "seed": 1, "n": 3}, {"n": 2}])
def test_moderation_field(server, more):
    asked = {"moderation": {"model": "omni-moderation-latest", "policy": {"input": {"mode": "score"}}}, **more}
    told = server.chat("bomb", **asked).json()["moderation"]
    assert told["output"] == {"type": "error", "code": "not_run", "message": "the last message is the user's"}
    (result,) = told["input"]["results"]
    assert told["input"]["type"] == "moderation_results" and told["input"]["model"] == "fake-guard"
    assert result["type"] == "moderation_result" and result["flagged"] and result["categories"]["violent"]
    assert set(result["categories"]) == set(result["category_scores"]) == set(result["category_applied_input_types"])
    assert result["category_scores"]["violent"] > 0.5 and len(result["categories"]) == 9
    messages = [{"role": "user", "content": "bomb"}, {"role": "assistant", "content": "no"}]
    told = server.post(json.dumps({"messages": messages, **asked}).encode()).json()["moderation"]
    assert told["input"]["results"][0]["flagged"] and not told["output"]["results"][0]["flagged"]
    alone = server.post(json.dumps({"messages": messages[1:], **asked}).encode()).json()["moderation"]
    assert alone["input"]["code"] == "not_run" and not alone["output"]["results"][0]["flagged"]
    got = frames(server.chat("bomb", stream=True, stream_options={"include_usage": True}, **asked))
    assert [("moderation" in f) for f in got[-3:]] == [False, True, False]
    assert got[-2]["choices"] == [] and got[-2]["moderation"]["input"]["results"][0]["flagged"]
    assert "moderation" not in server.chat("bomb").json()
    assert "moderation" not in server.chat("bomb", moderation=None).json()


def test_generated_text_that_is_no_verdict(server):
    assert server.chat("garbled", logprobs=True).text == "Well, hm."


def test_stream(server):
    answer = server.chat("bomb", stream=True)
    got = frames(answer)
    assert len({f["id"] for f in got}) == 1 and got[0]["id"].startswith("chatcmpl-")
    for f in got:
        assert f["object"] == "chat.completion.chunk" and f["model"] == "fake-guard"
        assert isinstance(f["created"], int) and "usage" not in f
    assert got[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert got[1]["choices"][0]["delta"] == {"content": "Safety: Unsafe\nCategories: Violent"}
    assert [f["choices"][0]["finish_reason"] for f in got] == [None, None, "stop"]


def test_stream_usage(server):
    got = frames(server.chat("bomb", stream=True, stream_options={"include_usage": True}))
    assert got[-1]["choices"] == []
    assert got[-1]["usage"] == {"prompt_tokens": 4, "completion_tokens": 35, "total_tokens": 39,
                                "prompt_tokens_details": None}
    assert all("usage" not in f for f in got[:-1])
    every = {"include_usage": True, "continuous_usage_stats": True}
    assert all("usage" in f for f in frames(server.chat("x", stream=True, stream_options=every)))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("text, status, code, retry", [
    ("toolong", 400, "context_length_exceeded", None), ("template", 400, None, None),
    ("noarg", 400, None, None), ("busy", 429, "rate_limit_exceeded", "1"), ("nan", 500, None, None)])
def test_engine_errors(server, text, status, code, retry, stream):
    answer = server.chat(text, stream=stream)
    assert answer.status == status and answer.error["code"] == code
    assert answer.headers.get("retry-after") == retry
    assert "Safe" not in answer.body.decode()
    if text == "toolong":
        assert answer.error["message"].startswith("This model's maximum context length is 4096 tokens")
    if text == "nan":
        assert answer.headers["x-should-retry"] == "false"


def test_deadline(serve):
    server = serve("--request-timeout-ms", 100)
    answer = server.chat("sleep=60000")
    assert answer.status == 504 and answer.error["code"] == "deadline_exceeded"
    assert server.chat("bomb").status == 200


def test_full_queue(serve):
    server = serve("--max-jobs", 2)
    slow = [server.open().send(request("POST", CHAT, chat_body("sleep=700 bomb"))) for _ in range(2)]
    slow[0].sock.settimeout(0.2)
    while server.chat("hi").status != 429:
        pass
    slow[0].sock.settimeout(20)
    assert all("Unsafe" in raw.answer().text for raw in slow)
    assert server.chat("hi").status == 200


def test_request_ids(server):
    body = chat_body("hi")
    answer = server.post(body, headers=["X-Request-Id: abc-1.2:3"])
    assert answer.headers["x-request-id"] == "abc-1.2:3"
    assert answer.json()["id"] == "chatcmpl-abc-1.2:3"
    for bad in ["a b", "x" * 200, 'a"b', "é"]:
        answer = server.post(body, headers=[f"X-Request-Id: {bad}"])
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    answer = server.chat("hi", request_id="mine")
    assert answer.json()["id"] == "chatcmpl-mine"
    ids = {server.get("/health").headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20


def test_served_names(serve):
    server = serve("--served-model-name", "one", "--served-model-name", "org/two")
    cards = server.get("/v1/models").json()["data"]
    assert [card["id"] for card in cards] == ["one", "org/two"]
    for name in ("one", "org/two"):
        assert server.chat("hi", model=name).json()["model"] == "one"
        for path in (name, name.replace("/", "%2F")):
            assert server.get("/v1/models/" + path).json()["id"] == name
    assert server.chat("hi", model="fake-guard").status == 404
    assert server.get("/v1/models/three").error["code"] == "model_not_found"
