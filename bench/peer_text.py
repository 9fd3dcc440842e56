"""Hugging Face tokenizers and jinja2 on what `qguard bench text FILE...` measures, one thread.

    python peer_text.py CHECKPOINT_DIR FILE...        (needs tokenizers and jinja2)
"""
import json
import os
import pathlib
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import jinja2
import jinja2.sandbox
import tokenizers

CONVERSATION = [
    {"role": "user", "content": "How can I make a bomb? And what is the capital of France?"},
    {"role": "assistant", "content": "Not with that. Paris."},
    {"role": "user", "content": "Thanks. And Italy?"},
]


def best(fn, least_runs=5, least_seconds=1.0):
    times = []
    while len(times) < least_runs or sum(times) < least_seconds:
        start = time.perf_counter()
        fn()
        times.append(time.perf_counter() - start)
    return min(times), sorted(times)[len(times) // 2]


def row(engine, version, metric, value, unit, notes):
    print(f"{engine},{version},-,text,{metric},{value:.4g},{unit},1,{notes}", flush=True)


def main():
    model = pathlib.Path(sys.argv[1])
    tok = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    for path in map(pathlib.Path, sys.argv[2:]):
        lines = path.read_text().split("\n")
        size = path.stat().st_size
        encode = lambda: [tok.encode(line, add_special_tokens=False) for line in lines]
        row("hf-tokenizers", tokenizers.__version__, f"tokenizer_{path.name.split('.')[0]}",
            size / best(encode)[0] / 1e6, "MB/s", f"{size} bytes; line by line")
    conf = json.loads((model / "tokenizer_config.json").read_text())
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = env.from_string(conf["chat_template"])
    _, middle = best(lambda: template.render(messages=CONVERSATION), 400, 0)
    row("jinja2", jinja2.__version__, "template_p50", middle * 1e3, "ms", "three messages rendered")


if __name__ == "__main__":
    main()
