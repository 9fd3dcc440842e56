"""The chat model behind a gateway in the tests: what it says is in its name; OpenAI's chat and Anthropic's messages."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "gateway"))
from scripted import Upstream  # noqa: E402

# the built-in Stream model finds the first Unsafe token of "bad" at " to kill people"
SAYS = {"good": "Paris is the capital of France.",
        "bad": "Here is how to build a pipe bomb: fill the pipe with gunpowder and detonate it to kill people. Then run."}


def words(text):
    return [piece if i == 0 else " " + piece for i, piece in enumerate(text.split(" "))]


def chat(conn, asked):
    base = {"id": "c1", "created": 1, "model": asked["model"]}
    usage = {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}
    if not asked.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": SAYS[asked["model"]]}, "finish_reason": "stop"}
        return conn.whole(json.dumps({**base, "object": "chat.completion", "choices": [choice], "usage": usage}))
    base["object"] = "chat.completion.chunk"
    conn.head()
    for piece in [*words(SAYS[asked["model"]]), None]:
        choice = {"index": 0, "delta": {"content": piece} if piece else {}, "finish_reason": None if piece else "stop"}
        conn.event({**base, "choices": [choice]})
    if asked.get("stream_options", {}).get("include_usage"):
        conn.event({**base, "choices": [], "usage": usage})
    return conn.end()


def messages(conn, asked):
    text, usage = SAYS[asked["model"]], {"input_tokens": 3, "output_tokens": 7}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"], "stop_sequence": None}
    if not asked.get("stream"):
        return conn.whole(json.dumps({**head, "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage}))
    events = [{"type": "message_start", "message": {**head, "content": [], "stop_reason": None, "usage": usage}},
              {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
              {"type": "ping"},
              *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in words(text)),
              {"type": "content_block_stop", "index": 0},
              {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 7}},
              {"type": "message_stop"}]
    conn.head()
    for event in events:
        conn.chunk(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n")
    return conn.send(b"0\r\n\r\n")


def script(conn, asked):
    if asked.method == "GET":
        cards = [{"id": name, "object": "model", "created": 1, "owned_by": "tests"} for name in SAYS]
        return conn.whole(json.dumps({"object": "list", "data": cards}))
    if asked.json["model"] not in SAYS:
        error = {"message": "no such model", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
        return conn.whole(json.dumps({"error": error}), status="404 Not Found")
    return (messages if asked.path == "/v1/messages" else chat)(conn, asked.json)


def start():
    """An Upstream; its url ends in /v1, its requests are what it was asked."""
    return Upstream(script)
