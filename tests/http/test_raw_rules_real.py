"""Rules of the policy over prompts that the caller rendered, with the built-in model's own template and tokenizer."""
import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from protocols import ask, user  # noqa: E402
from wire import Server  # noqa: E402


@pytest.fixture(scope="module")
def server(qguard, tmp_path_factory):
    policy = tmp_path_factory.mktemp("rules") / "policy.yaml"
    policy.write_text("version: 1\nrules:\n  - {contains: zebra, severity: Unsafe, category: Violent, final: true}\n"
                      "  - {contains: answer only, severity: Unsafe, category: PII, in: [response], final: true}\n"
                      "  - {contains: question only, severity: Unsafe, category: PII, in: [prompt], final: true}\n"
                      "  - {contains: user, severity: Unsafe, category: Jailbreak, final: true}\n")
    one = Server([str(qguard), "serve", "--port", "0", "--quiet", "--policy", str(policy)])
    yield one
    assert one.stop() == 0


def reply(text):
    return user("hello") + [{"role": "assistant", "content": text}]


@pytest.mark.parametrize("messages, category", [
    (user("hello"), None), (user("a zebra"), "Violent"), (user("question only"), "PII"), (user("answer only"), None),
    (reply("fine"), None), (reply("a zebra"), "Violent"), (reply("answer only"), "PII"), (reply("question only"), None)])
def test_a_rendered_conversation_is_judged_as_its_messages(server, messages, category):
    """The template says "user" itself: that is not what the caller said."""
    chat = ask(server, "/v1/chat/completions", {"messages": messages})["choices"][0]["message"]["content"]
    ids = ask(server, "/tokenize", {"messages": messages, "add_generation_prompt": True})["tokens"]
    text = ask(server, "/detokenize", {"tokens": ids})["prompt"]
    assert "user" in text.lower()
    for prompt in (text, ids):
        said = ask(server, "/v1/completions", {"prompt": prompt, "max_tokens": 60})["choices"][0]["text"]
        if category:
            assert f"Categories: {category}" in said and f"Categories: {category}" in chat, json.dumps([said, chat])
        else:
            assert said.startswith("Safety: Safe") and chat.startswith("Safety: Safe"), json.dumps([said, chat])


def test_pieces_of_words_are_put_together(server):
    """Ids that no tokenizer would write spell the word all the same."""
    pieces = [i for letter in "a zebra" for i in ask(server, "/tokenize", {"prompt": letter})["tokens"]]
    assert len(pieces) == 7
    assert "Categories: Violent" in ask(server, "/v1/completions", {"prompt": pieces, "max_tokens": 60})["choices"][0]["text"]
