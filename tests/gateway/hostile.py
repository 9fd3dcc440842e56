"""An upstream that misbehaves by chance, a client that records every byte and its time, and a judge that keeps a log:

    python tests/gateway/hostile.py --streams 10000 [--first SEED] [--shadow]

Each stream is drawn from its seed: protocol, texts, how they are cut into deltas, events and writes, what is wrong
with them. Afterwards every byte that left is held against the judge's log: it must have been judged, with
hold_back_tokens behind it, before the client had it. Text that left is the beginning of what was sent, byte for byte;
without a hit or a fault all of it is, and the body is the upstream's own. The fake engine's tokens are bytes, and the
word "bomb" is a hit (tests/http/fake_session.c).
"""
import argparse
import asyncio
import collections
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPO / "tests" / "http"))
from wire import Server  # noqa: E402

HOLD = 4
PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}
FAULTS = ("close", "early", "broken", "error", "twice", "behind", "nan", "busy", "gone", "hang", "vanish", "stall", "long")
JUDGED_WRONG = ("nan", "busy", "gone", "hang")
WORDS = ("so ", "it is ", "the fuse, ", "\n\n", "{\"a\": 1} ", "\\ ", "„ä“ ", "今天天气 ", "😀👍 ", "e\u0301 ", "\u2028", "\t", "bom ",
         "b", "<b>x</b> ", "a" * 40, "1234 ")


class Plan:
    """What a stream is to be, from its seed."""

    def __init__(self, seed):
        r = self.random = random.Random(seed)
        self.seed = seed
        self.proto = r.choices(list(PATHS), (6, 2, 2))[0]
        self.fault = r.choice(FAULTS) if r.random() < 0.5 else None
        self.eol = r.choice(("\n", "\n", "\r\n"))
        self.comments = r.random() < 0.3
        self.slow = r.random() < 0.1
        self.lanes = collections.OrderedDict()  # (choice, field) -> [deltas]
        for choice in range(r.choices((1, 2, 3), (7, 2, 1))[0] if self.proto == "chat" else 1):
            for field in self.fields():
                self.lanes[choice, field] = self.deltas(f"{seed:x}.{choice}{field[0]}:")
        self.hits = [lane for lane in self.lanes if "bomb" in self.text(lane)]

    def fields(self):
        r = self.random
        names = {"chat": ("content", "reasoning_content", "tool"), "messages": ("content", "thinking", "tool"),
                 "responses": ("content",)}[self.proto]
        return [names[0]] + [name for name in names[1:] if r.random() < 0.25]

    def deltas(self, mark):
        r = self.random
        text = mark + "".join(r.choice(WORDS) for _ in range(r.randint(0, 25)))
        if r.random() < 0.25:
            at = r.randint(len(mark), len(text))
            text = text[:at] + "bomb" + text[at:]
        cuts = sorted(r.randint(1, len(text)) for _ in range(r.choice((0, 3, 12, len(text)))))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]
        if self.fault in JUDGED_WRONG and r.random() < 0.7:
            pieces.insert(r.randint(1, len(pieces)), f" {self.fault} ")
        return pieces

    def text(self, lane):
        return "".join(self.lanes[lane])

    # ---- events

    def events(self):
        """(text of the event, whether its end is part of the reply) in order."""
        r, left = self.random, {lane: list(deltas) for lane, deltas in self.lanes.items()}
        events = list(getattr(self, self.proto)(left))
        if self.fault in ("broken", "error"):
            bad = '{"choices":[{' if self.fault == "broken" else '{"error":{"message":"I am tired","code":7}}'
            events.insert(r.randint(0, len(events) - 1), (None, bad))
        if self.fault == "long":
            events.insert(r.randint(0, len(events) - 1), (None, '{"x":"' + "y" * (5 << 20) + '"}'))
        if self.fault == "early":
            events = events[:r.randint(0, len(events) - 2)]
        if self.fault == "behind":
            events += [(None, "x y z"), events[0]]
        if self.fault == "twice":
            events += events[-2:] if self.proto == "chat" else events[-1:]
        return events

    def chat(self, left):
        r = self.random

        def chunk(index, delta, finish=None):
            event = {"id": f"c{self.seed}", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [
                {"index": index, "delta": delta, "finish_reason": finish}]}
            return None, json.dumps(event, ensure_ascii=r.random() < 0.5)
        choices = {choice for choice, _ in left}
        for choice in choices:
            if r.random() < 0.7:
                yield chunk(choice, {"role": "assistant", "content": ""})
        while any(left.values()):
            lane = r.choice([lane for lane in left if left[lane]])
            text, first = left[lane].pop(0), len(left[lane]) + 1 == len(self.lanes[lane])
            if lane[1] == "tool":
                call = {"index": 0, "function": {"arguments": text}}
                if first:
                    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": text}}
                yield chunk(lane[0], {"tool_calls": [call]})
            else:
                yield chunk(lane[0], {lane[1]: text})
        for choice in choices:
            yield chunk(choice, {}, "stop")
        if r.random() < 0.3:
            yield None, json.dumps({"id": f"c{self.seed}", "object": "chat.completion.chunk", "created": 1, "model": "m",
                                    "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}})
        yield None, "[DONE]"

    def messages(self, left):
        def event(name, **more):
            return name, json.dumps({"type": name, **more})
        yield event("message_start", message={"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [],
                                              "stop_reason": None, "usage": {"input_tokens": 1, "output_tokens": 1}})
        kinds = {"content": ({"type": "text", "text": ""}, "text_delta", "text"),
                 "thinking": ({"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", "thinking"),
                 "tool": ({"type": "tool_use", "id": "t1", "name": "look", "input": {}}, "input_json_delta", "partial_json")}
        for index, (lane, deltas) in enumerate(left.items()):
            block, kind, member = kinds[lane[1]]
            yield event("content_block_start", index=index, content_block=block)
            if self.random.random() < 0.2:
                yield event("ping")
            for text in deltas:
                yield event("content_block_delta", index=index, delta={"type": kind, member: text})
            yield event("content_block_stop", index=index)
        yield event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 5})
        yield event("message_stop")

    def responses(self, left):
        number = iter(range(10000))
        text = self.text((0, "content"))
        item = {"id": "i1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        done = {**item, "status": "completed", "content": [{"type": "output_text", "text": text, "annotations": []}]}
        at = {"item_id": "i1", "output_index": 0, "content_index": 0}

        def event(name, **more):
            return name, json.dumps({"type": name, "sequence_number": next(number), **more})
        base = {"id": "r1", "object": "response", "created_at": 1, "model": "m"}
        yield event("response.created", response={**base, "status": "in_progress", "output": []})
        yield event("response.output_item.added", output_index=0, item=item)
        yield event("response.content_part.added", **at, part={"type": "output_text", "text": "", "annotations": []})
        for delta in left[0, "content"]:
            yield event("response.output_text.delta", **at, delta=delta)
        yield event("response.output_text.done", **at, text=text)
        yield event("response.content_part.done", **at, part=done["content"][0])
        yield event("response.output_item.done", output_index=0, item=done)
        yield event("response.completed", response={**base, "status": "completed", "output": [done]})

    # ---- bytes

    def body(self):
        r, out = self.random, []
        for name, data in self.events():
            if self.comments and r.random() < 0.3:
                out.append(f": noise {r.random()}{self.eol}")
                if r.random() < 0.5:
                    out.append(self.eol)
            if name:
                out.append(f"event: {name}{self.eol}")
            out.append(f"data:{r.choice((' ', ' ', ''))}{data}{self.eol}{self.eol}")
        return "".join(out).encode()

    def writes(self, body):
        r = self.random
        size = r.choice((1, 7, 60, 400, 5000, 1 << 20))
        at = 0
        while at < len(body):
            n = len(body) - at if size == 1 << 20 else r.randint(1, max(size, len(body) // 3000))
            yield body[at:at + n]
            at += n


BLANK = re.compile(rb"\r?\n\r?\n")


class Heard:
    """What the client read: bytes of the answer, lane by lane how much of a text there was and when."""

    def __init__(self):
        self.raw, self.body = b"", bytearray()
        self.status, self.over, self.broken = None, False, False
        self.text = collections.defaultdict(str)
        self.when = collections.defaultdict(list)  # lane -> [(ns, bytes of it)]
        self.data, self.block, self.looked = [], bytearray(), 0

    def feed(self, piece):
        now = time.monotonic_ns()
        self.raw += piece
        if self.status is None:
            if b"\r\n\r\n" not in self.raw:
                return
            head, _, self.raw = self.raw.partition(b"\r\n\r\n")
            self.status = int(head.split(b" ")[1])
            self.chunked = b"chunked" in head.lower()
            self.length = int(m[1]) if (m := re.search(rb"(?i)content-length: *(\d+)", head)) else None
        while self.chunked and not self.over and (end := self.raw.find(b"\r\n")) >= 0:
            n = int(self.raw[:end], 16)
            if len(self.raw) < end + 4 + n:
                return
            self.take(self.raw[end + 2:end + 2 + n], now)
            self.raw = self.raw[end + 4 + n:]
            self.over = n == 0
        if not self.chunked:
            self.take(self.raw, now)
            self.raw = b""
            self.over = self.length is not None and len(self.body) >= self.length

    def take(self, data, now):
        self.body += data
        self.block += data
        # a long event comes in many pieces: what was looked at is not looked at again
        while m := BLANK.search(self.block, self.looked):
            block = bytes(self.block[:m.start()])
            del self.block[:m.end()]
            self.looked = 0
            lines = [line[5:].removeprefix(b" ") for line in re.split(rb"\r?\n", block) if line.startswith(b"data:")]
            if lines:
                self.event(b"\n".join(lines).decode(), now)
        self.looked = max(0, len(self.block) - 3)

    def event(self, data, now):
        self.data.append(data)
        try:
            event = json.loads(data)
        except ValueError:
            return
        for lane, text in texts_of(event) if isinstance(event, dict) else ():
            self.text[lane] += text
            self.when[lane].append((now, len(self.text[lane].encode())))


def texts_of(event):
    for choice in event.get("choices", ()):
        delta = choice.get("delta", {})
        for field in ("content", "reasoning_content"):
            if delta.get(field):
                yield (choice["index"], field), delta[field]
        for call in delta.get("tool_calls", ()):
            yield (choice["index"], "tool"), call.get("function", {}).get("arguments") or ""
    kind, delta = event.get("type"), event.get("delta")
    if kind == "content_block_delta":
        for member, field in (("text", "content"), ("thinking", "thinking"), ("partial_json", "tool")):
            if member in delta:
                yield (0, field), delta[member]
    if kind == "response.output_text.delta":
        yield (0, "content"), delta


# ---- the run -------------------------------------------------------------------------------------


async def serve_plan(reader, writer):
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"GET "):  # is the upstream well?
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                continue
            n = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
            asked = json.loads(await reader.readexactly(n))
            plan = Plan(int(asked["user"] if "user" in asked else asked["metadata"]["user_id"]))
            body = plan.body()
            if plan.fault == "close":
                body = body[:plan.random.randint(0, len(body) - 1)]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in plan.writes(body):
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
                if plan.random.random() < (0.2 if plan.slow else 0.01):
                    await asyncio.sleep(plan.random.random() * 0.02)
            if plan.fault == "close":
                break
            if plan.fault == "stall":
                await asyncio.sleep(4)
            writer.write(b"0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    except asyncio.CancelledError:
        pass
    finally:
        writer.transport.abort()


async def hear_plan(port, plan):
    heard = Heard()
    body = {"model": "m", "messages": [{"role": "user", "content": f"hi {plan.seed}"}], "stream": True, "user": str(plan.seed)}
    if plan.proto == "messages":
        body |= {"max_tokens": 9, "metadata": {"user_id": body.pop("user")}}
    if plan.proto == "responses":
        body["input"] = body.pop("messages")
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"POST {PATHS[plan.proto]} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        stop = plan.random.randint(1, 4000) if plan.fault == "vanish" else None
        while not heard.over and (piece := await asyncio.wait_for(reader.read(65536), 60)):
            heard.feed(piece)
            if stop and len(heard.body) > stop:
                break
            if plan.slow and plan.random.random() < 0.2:
                await asyncio.sleep(0.01)
    except ConnectionError:
        pass
    heard.broken = not heard.over
    writer.transport.abort()
    return heard


def read_log(path):
    """session -> [(ns, role, final bytes, ended, text so far)], texts as bytes."""
    sessions = collections.defaultdict(list)
    for line in open(path):
        ns, session, role, final, ended, text = (line.rstrip("\n").split(" ") + [""])[:6]
        before = sessions[session][-1] if sessions[session] else None
        same = before and before[1] == role and not before[3]
        sessions[session].append((int(ns), role, int(final), ended == "1", (before[4] if same else b"") + bytes.fromhex(text)))
    return sessions


def by_stream(sessions):
    """seed -> [(ns, bytes that may leave, text of the turn so far)]; a stream's sessions have read its prompt."""
    found = collections.defaultdict(list)
    for turns in sessions.values():
        for ns, role, final, ended, text in turns:
            if role == "user":
                seed = int(text.split(b" ")[1])
            else:
                found[seed].append((ns, len(text) if ended else final - HOLD, text))
    return found


def allowed(sent, log, ns):
    """Bytes of the lane that may have left at ns: what verdicts cover from its first byte on."""
    spans = []
    for at, n, text in log:
        if text.startswith(b"look"):  # a tool's name is judged with its arguments
            n, text = n - 4, text[4:]
        place = sent.find(text) if at <= ns and n > 0 else -1
        while place >= 0:
            spans.append((place, place + n))
            place = sent.find(text, place + 1)
    reach = 0
    for begin, end in sorted(spans):
        if begin > reach:
            break
        reach = max(reach, end)
    return reach


def check(plan, heard, judged, shadow):
    """Raises AssertionError with what is wrong."""
    sent = {lane: plan.text(lane) for lane in plan.lanes}
    assert heard.status is not None or plan.fault == "vanish", "no answer"
    for lane, text in () if shadow else heard.text.items():
        assert sent[lane].startswith(text), f"{lane}: {text!r} is no beginning of {sent[lane]!r}"
    if shadow:
        want = Plan(plan.seed).body()
        assert want.startswith(heard.body), "the body is not the upstream's"
        assert plan.fault in ("close", "vanish", "stall") or heard.body == want, "the body was cut"
        return
    for lane, moments in heard.when.items():
        for ns, n in moments:
            most = allowed(sent[lane].encode(), judged[plan.seed], ns)
            assert n <= most, f"{lane}: {n} bytes had left when {most} were allowed: {heard.text[lane]!r}"
        place = sent[lane].find("bomb")
        # a text that another one interrupts is judged up to there for good, so "bom" may have left before its "b" came
        assert place < 0 or len(heard.text[lane]) < place + 4, f"{lane}: a hit left: {heard.text[lane]!r}"
    if plan.fault is None and not plan.hits:
        assert heard.status == 200 and not heard.broken, f"status {heard.status}, broken {heard.broken}"
        assert all(heard.text[lane] == text for lane, text in sent.items()), "text is missing"
        want, got = (re.sub(rb"(?m)^:[^\r\n]*", b":", body) for body in (Plan(plan.seed).body(), heard.body))
        assert got == want, "the body is not the upstream's"
    if plan.fault is None and plan.hits:
        end = "".join(heard.data[-4:])
        word = {"chat": "content_filter", "messages": "refusal", "responses": "response.incomplete"}[plan.proto]
        assert heard.status == 200 and not heard.broken and word in end, f"no proper end of a cut reply: {end[-300:]}"


async def run(binary, first, n, shadow=False, at_once=40, show=lambda line: None):
    server = await asyncio.start_server(serve_plan, "127.0.0.1", 0, limit=1 << 20)
    port = server.sockets[0].getsockname()[1]
    folder = tempfile.TemporaryDirectory()
    log, policy = pathlib.Path(folder.name) / "judge.log", pathlib.Path(folder.name) / "policy.yaml"
    log.touch()
    policy.write_text(f"version: 1\nhold_back_tokens: {HOLD}\n" + ("shadow: true\n" if shadow else ""))
    env = {"QGUARD_FAKE_LOG": str(log), "QGUARD_FAKE_DELAY_US": "4000"}
    gateway = await asyncio.to_thread(Server, [str(binary), "--upstream", f"http://127.0.0.1:{port}/v1", "--judge-ms", "2000", "--stall-ms",
                                               "3000", "--policy", str(policy), "--max-sessions", "60000", "--max-model-len", "60000"], env)
    faults, counts, gate = [], collections.Counter(), asyncio.Semaphore(at_once)

    async def one(seed):
        async with gate:
            plan = Plan(seed)
            heard = await hear_plan(gateway.port, plan)
            counts[plan.fault, bool(plan.hits), heard.status, heard.broken] += 1
            return plan, heard
    for begin in range(first, first + n, 500):
        done = await asyncio.gather(*(one(seed) for seed in range(begin, min(begin + 500, first + n))), return_exceptions=True)
        judged = by_stream(read_log(log))
        for seed, result in zip(range(begin, first + n), done):
            try:
                if isinstance(result, BaseException):
                    raise AssertionError(f"the client failed: {result!r}")
                check(*result, judged, shadow)
            except AssertionError as wrong:
                plan = Plan(seed)
                faults.append(f"seed {seed} ({plan.proto}, fault {plan.fault}, hits {plan.hits}): {wrong}")
        with open(log, "r+") as file:
            file.truncate(0)
        show(f"{begin + len(done) - first} streams, {len(faults)} wrong")
        if gateway.process.poll() is not None:
            gateway.reader.join(5)
            faults.insert(0, f"the gateway ended with {gateway.process.poll()}:\n" + "\n".join(
                line for line in gateway.lines if '" 200 ' not in line)[-6000:])
            break
    status = gateway.process.poll()
    if status is None:
        try:
            status = await asyncio.to_thread(gateway.stop)
        except subprocess.TimeoutExpired:
            gateway.process.kill()
            status = "60 s of waiting"
    if status != 0:
        faults.append(f"the gateway ended with {status}: {gateway.lines[-10:]}")
    server.close()
    folder.cleanup()
    return faults, counts


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--streams", type=int, default=400)
    p.add_argument("--first", type=int, default=1)
    p.add_argument("--shadow", action="store_true")
    p.add_argument("--gateway", default=REPO / "build/tests/gateway/qguard-fake-gateway")
    args = p.parse_args()
    begun = time.monotonic()
    faults, counts = asyncio.run(run(args.gateway, args.first, args.streams, args.shadow, show=lambda line: print(line, flush=True)))
    for (fault, hits, status, broken), n in sorted(counts.items(), key=str):
        print(f"{n:6} fault {fault}, hit {hits}: status {status}{', broken off' if broken else ''}")
    print(f"{args.streams} streams in {time.monotonic() - begun:.0f} s, {len(faults)} wrong")
    for line in faults[:40]:
        print(line)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
