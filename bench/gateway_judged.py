#!/usr/bin/env python3
"""What `qguard gateway` adds to a reply when real models judge it.

    bench/gateway_judged.py --stream-model DIR [--gen-model DIR] [--build build] [--dtype int8] [--parts first,one,most]

first   time to the first text that leaves, with the prompt judged beside the call, less the same straight from the
        upstream: for an upstream that answers at once and for one that thinks for 300 ms first, beside one pass of the
        Stream model over the prompt (bench_session_pass); with --gen-model that model judges the prompts instead.
one     one stream of 100 tokens/s: tokens a second read by the client, straight and through the gateway, and the delay
        of a token (from when the token that releases it was sent), beside hold_back_tokens + 1 appends of one token.
most    how many streams of 20 tokens/s keep 99 % of the delays under 250 ms: doubled, then halved.

Everything runs on this machine: upstream and clients in one program beside the gateway (bench_gateway_load). Nothing is
blocked (a checkpoint of random weights finds something in everything). Rows of CSV as `qguard bench` writes them.
"""
import argparse
import json
import pathlib
import re
import socket
import statistics
import subprocess
import tempfile
import threading
import time

from gateway import free_port
from server import Server, row

HOLD, LIMIT_MS = 4, 250
POLICY = f"""version: 1
hold_back_tokens: {HOLD}
judge_prompt: beside
severities: {{Unsafe: {{action: allow}}, Controversial: {{action: allow}}}}
"""
SENTENCE = "Tell me number {} of the stories about the old lighthouse keeper and his daughter, who lived far from the town. "
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def prompts(n, first):
    return [SENTENCE.format(first + i) * 6 for i in range(n)]  # no two begin alike, 163 tokens


class Gateway(Server):
    def __init__(self, args, upstream_port, gen_model=None):
        self.policy = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        self.policy.write(POLICY)
        self.policy.flush()
        super().__init__([args.build / "qguard", "gateway", "--port", "0", "--upstream", f"http://127.0.0.1:{upstream_port}/v1", "--policy",
                          self.policy.name, "--dtype", args.dtype, "--stream-model", args.stream_model, "--log", "note", "--kv-cache-mib",
                          args.kv_cache_mib] + (["--gen-model", gen_model] if gen_model else []))


# ---- first --------------------------------------------------------------------------------------

def chunk(text, finish=None):
    delta = {"content": text} if text else {}
    event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
             "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return f"data: {json.dumps(event)}\n\n".encode()


class Upstream:
    """Answers with a few tokens and the end, `think` seconds after it was asked."""

    def __init__(self):
        self.think = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            threading.Thread(target=self.talk, args=(self.listener.accept()[0],), daemon=True).start()

    def talk(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = b""
        while b"\r\n\r\n" not in asked:
            if not (piece := sock.recv(65536)):
                return
            asked += piece
        time.sleep(self.think)
        sock.sendall(HEAD + b"".join(chunk(word) for word in (" It", " was", " the", " last")) + chunk(None, "stop") + b"data: [DONE]\n\n")
        sock.close()


def first_text(port, prompt):
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": prompt}]}).encode()
    heard = b""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        begun = time.perf_counter()
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        while b'"content": " It"' not in heard:
            if not (piece := sock.recv(65536)):
                raise SystemExit(f"no text: {heard!r}")
            heard += piece
    return (time.perf_counter() - begun) * 1000


def measure_first(args, upstream, port, prompt_ms, who):
    for think in (0, 0.3):
        upstream.think = think
        straight = [first_text(upstream.port, text) for text in prompts(args.repeat, 1000)]
        through = [first_text(port, text) for text in prompts(args.repeat, int(2000 + 1000 * think) + (9000 if who == "gen" else 0))]
        added = statistics.median(through) - statistics.median(straight)
        row("gateway", f"added first text, upstream after {think * 1000:.0f} ms", added, "ms",
            f"prompt judged beside by the {who} model; one Stream pass over it: {prompt_ms:.1f} ms; worst {max(through):.1f}")


def session_pass(args):
    done = subprocess.run([args.build / "bench" / "bench_session_pass", args.stream_model, args.dtype],
                          input="\n".join(prompts(20, 100)), capture_output=True, text=True, check=True)
    found = re.search(r"prompt ([\d.]+) token ([\d.]+)", done.stdout)
    row("session", "prompt pass", float(found[1]), "ms", "a new session each, 163 tokens")
    row("session", "append of one token", float(found[2]), "ms")
    return float(found[1]), float(found[2])


# ---- one, most ----------------------------------------------------------------------------------

def load(args, upstream_port, gateway_port, streams, rate, seconds):
    done = subprocess.run([args.build / "bench" / "bench_gateway_load", *map(str, (upstream_port, gateway_port, streams, rate, seconds, HOLD))],
                          capture_output=True, text=True, check=True)
    words = done.stdout.split()
    return dict(zip(words[::2], map(float, words[1::2])))


def measure_one(args, port, gateway, token_ms):
    straight = load(args, port, port, 1, 100, 4)
    row("gateway", "one stream of 100 tokens/s, straight", straight["down"], "tokens/s", f"p99 {straight['p99']:.2f} ms")
    got = load(args, port, gateway.port, 1, 100, 6)
    row("gateway", "one stream of 100 tokens/s", got["down"], "tokens/s", f"upstream wrote {got['up']:.2f}; {got['lost']:.0f} lost")
    row("gateway", "added delay of a token, p50", got["p50"], "ms", f"{HOLD + 1} appends of one token: {(HOLD + 1) * token_ms:.1f} ms")
    row("gateway", "added delay of a token, p99", got["p99"], "ms")


def holds(args, port, gateway, streams):
    got = load(args, port, gateway.port, streams, 20, args.seconds)
    good = got["p99"] < LIMIT_MS and got["lost"] == 0
    row("gateway", f"{streams} streams of 20 tokens/s, p99", got["p99"], "ms", f"p50 {got['p50']:.1f}; {got['lost']:.0f} lost")
    return good


def measure_most(args, port, gateway):
    good, bad = 0, args.begin
    while bad <= 1024 and holds(args, port, gateway, bad):
        good, bad = bad, 2 * bad
    while bad - good > max(1, good // 12):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(args, port, gateway, middle) else (good, middle)
    row("gateway", f"streams of 20 tokens/s with p99 under {LIMIT_MS} ms", good, "streams", f"{bad} are too many")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--stream-model", required=True)
    p.add_argument("--gen-model")
    p.add_argument("--build", type=pathlib.Path, default="build")
    p.add_argument("--dtype", default="int8")
    p.add_argument("--kv-cache-mib", type=int, default=4096)
    p.add_argument("--parts", default="first,one,most")
    p.add_argument("--repeat", type=int, default=15)
    p.add_argument("--seconds", type=int, default=6, help="of each step of `most`, behind two to settle")
    p.add_argument("--begin", type=int, default=16, help="streams of the first step of `most`")
    args = p.parse_args()
    parts = args.parts.split(",")
    prompt_ms, token_ms = session_pass(args)
    upstream, port = Upstream(), free_port()
    if "first" in parts and args.gen_model:
        with Gateway(args, upstream.port, args.gen_model) as gateway:
            measure_first(args, upstream, gateway.port, prompt_ms, "gen")
    if "first" in parts:
        with Gateway(args, upstream.port) as gateway:
            measure_first(args, upstream, gateway.port, prompt_ms, "stream")
    if set(parts) & {"one", "most"}:
        with Gateway(args, port) as gateway:
            if "one" in parts:
                measure_one(args, port, gateway, token_ms)
            if "most" in parts:
                measure_most(args, port, gateway)


if __name__ == "__main__":
    main()
