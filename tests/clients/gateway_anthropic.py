"""Runs in the anthropic SDK's own environment: `gateway_anthropic.py URL MODEL TEXT plain|stream` prints what came as one line of JSON."""
import json
import sys

import anthropic

url, model, text, how = sys.argv[1:]
client = anthropic.Anthropic(base_url=url, api_key="clients-key", max_retries=0, timeout=60)
asked = {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": text}]}
pieces = None
try:
    if how == "plain":
        message = client.messages.create(**asked)
    else:
        with client.messages.stream(**asked) as stream:
            pieces = list(stream.text_stream)
            message = stream.get_final_message()
    print(json.dumps({"text": "".join(block.text for block in message.content), "pieces": pieces,
                      "stop_reason": message.stop_reason, "output_tokens": message.usage.output_tokens}))
except anthropic.APIStatusError as error:
    print(json.dumps({"raised": type(error).__name__, "status": error.status_code, "body": error.body}))
