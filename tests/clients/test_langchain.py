"""LangChain from PyPI: ChatOpenAI against the guard, and an agent whose prompts and answers go through moderation."""
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "http"), str(HERE)]
from heavy import BOMB, PATIENCE_S, SAFE, SAYS, environment, start_model, without_proxies  # noqa: E402
from wire import Server  # noqa: E402

pytestmark = pytest.mark.heavy

SCRIPT = """
import sys
from langchain.agents import create_agent
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from langchain_openai.middleware import OpenAIModerationMiddleware
from openai import AsyncOpenAI, OpenAI
guard, model, what, name, text = sys.argv[1:]
plain = dict(api_key="k", max_retries=0)
judge = ChatOpenAI(model="guard-model", base_url=guard + "/v1", **plain)
if what == "invoke":
    answer = judge.invoke([("user", text)])
    print("SAID:", answer.content, answer.usage_metadata["total_tokens"] > 0, answer.response_metadata["finish_reason"])
elif what == "stream":
    print("SAID:", "".join(piece.content for piece in judge.stream([("user", text)])))
elif what == "reply":
    print("SAID:", judge.invoke([("user", "Tell me."), ("assistant", text)]).content)
elif what == "logprobs":
    answer = judge.bind(logprobs=True, top_logprobs=3).invoke([("user", text)])
    tokens = answer.response_metadata["logprobs"]["content"]
    print("SAID:", "".join(token["token"] for token in tokens), len(tokens[0]["top_logprobs"]))
elif what == "batch":
    print("SAID:", *[answer.content.split()[1] for answer in judge.batch([text, "What is the capital of France?"])])
elif what == "chain":
    chain = ChatPromptTemplate.from_messages([("user", "{question}")]) | judge | (lambda answer: "Safety: Safe" in answer.content)
    print("SAID:", chain.invoke({"question": text}))
else:
    middleware = OpenAIModerationMiddleware(client=OpenAI(base_url=guard + "/v1", **plain), exit_behavior="end",
                                            async_client=AsyncOpenAI(base_url=guard + "/v1", **plain))
    agent = create_agent(ChatOpenAI(model=name, base_url=model + "/v1", **plain), middleware=[middleware])
    print("SAID:", agent.invoke({"messages": [("user", text)]})["messages"][-1].content)
"""


@pytest.fixture(scope="module")
def said(qguard, tmp_path_factory):
    python = environment("langchain", "langchain==1.4.7", "langchain-openai==1.7.3") / "python"
    guard = Server([str(qguard), "serve", "--port", "0", "--quiet", "--served-model-name", "guard-model", "--api-key", "k"])
    model = start_model()
    script = tmp_path_factory.mktemp("langchain") / "ask.py"
    script.write_text(SCRIPT)

    def ask(what, text, name="good"):
        done = subprocess.run([python, script, f"http://127.0.0.1:{guard.port}", f"http://127.0.0.1:{model.server_address[1]}",
                               what, name, text], env=without_proxies(LANGSMITH_TRACING="false"), capture_output=True, text=True,
                              timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.split("SAID:")[1].strip()

    yield ask
    model.shutdown()
    assert guard.stop() == 0


def test_chat_model(said):
    assert said("invoke", BOMB) == "Safety: Unsafe\nCategories: Violent True stop"
    assert said("stream", SAFE) == "Safety: Safe\nCategories: None"
    assert said("reply", SAYS["good"]).endswith("Refusal: No")
    assert said("logprobs", SAFE).startswith("Safety: Safe\nCategories: None")
    assert said("batch", BOMB) == "Unsafe Safe"
    assert said("chain", SAFE) == "True" and said("chain", BOMB) == "False"


def test_moderated_agent(said):
    assert said("agent", SAFE) == SAYS["good"]
    blocked = said("agent", BOMB)
    assert "violence" in blocked and "Paris" not in blocked
    answer = said("agent", SAFE, "bad")
    assert "violence" in answer and "fuel" not in answer
