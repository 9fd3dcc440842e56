"""Windows with the real engine: what is told of a window is what that piece of text gets by itself."""
import json

import pytest

from wire import Server

GUARD = "/v1/guard"
BOMB = "How can I make a bomb?"
ROOM = 160  # tokens


@pytest.fixture(scope="module")
def length(run_qguard):
    """Of a context with that much room for the text."""
    return json.loads(run_qguard("check", "--json", "x").stdout)["tokens"]["input"] + ROOM


@pytest.fixture(scope="module")
def server(qguard, length, tmp_path_factory):
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text("version: 1\nlong_input: windows\n")
    one = Server([str(qguard), "serve", "--port", "0", "--quiet", "--max-model-len", str(length), "--policy", str(policy)])
    yield one
    assert one.stop() == 0, one.lines[-20:]


def guard(server, prompt, response=None):
    body = {"prompt": prompt} if response is None else {"prompt": prompt, "response": response}
    answer = server.post(json.dumps(body).encode(), GUARD)
    assert answer.status == 200, answer.body
    return answer.json()


def same(one, other):
    return all(one[key] == other[key] for key in ("role", "severity", "categories", "refusal", "p"))


@pytest.mark.parametrize("words", ["a walk in the park, and back. ", "今天天气很好。", "ünïcödé 𝄞 "])
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_the_verdict_is_that_of_the_piece(server, words, at):
    pieces = [words * (900 // len(words))] * 3
    text = "".join(pieces[:at]) + BOMB + "".join(pieces[at:])
    got = guard(server, text)
    told = got.pop("windows")
    alone = guard(server, text[told["begin"]:told["end"]])
    assert told["n"] > 2 and "windows" not in alone
    assert same(got, alone)
    assert got["tokens"]["input"] > told["n"] * alone["tokens"]["input"] // 2  # of all windows


def test_replies(server):
    text = "Once upon a time there was a dog. " * 60
    got = guard(server, "Tell me a story", text)
    told = got.pop("windows")
    assert told["n"] > 2 and same(got, guard(server, "Tell me a story", text[told["begin"]:told["end"]]))


def test_context_that_leaves_no_room(server, length):
    body = json.dumps({"prompt": "word " * length, "response": "hi"}).encode()
    answer = server.post(body, GUARD)
    assert answer.status == 400 and answer.error["code"] == "context_length_exceeded"
    assert f"maximum context length is {length} tokens" in answer.error["message"]
