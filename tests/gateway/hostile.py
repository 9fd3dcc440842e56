"""An upstream that misbehaves by chance, a client that records every byte and its time, and a judge that keeps a log:

    python tests/gateway/hostile.py --streams 10000 [--first SEED] [--shadow | --open]

Each stream is drawn from its seed (plans.py): protocol, texts, how they are cut into deltas, events and writes, what is
wrong with them. Afterwards every byte that left is held against the judge's log: it must have been judged, with
hold_back_tokens behind it, before the client had it. Text that left is the beginning of what was sent, byte for byte;
without a hit or a fault all of it is, and the body is the upstream's own. How each ended must be what docs/GATEWAY.md
says of its fault, in the audit log and on the metrics page. The fake engine's tokens are bytes, and the word "bomb" is a
hit (tests/http/fake_session.c).
"""
import argparse
import asyncio
import collections
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
sys.path[:0] = [str(REPO / "tests" / "http"), str(HERE)]
from plans import JUDGED_WRONG, PATHS, STATUS, UNREAD, Plan  # noqa: E402
from wire import Server  # noqa: E402

HOLD = 4
SAME_BODY = (None, "gzip", "deflate", "trickle", "cr", "bom", "lines", "names", "headers", "trailer", "interim", "error")


BLANKS = {False: re.compile(rb"\r?\n\r?\n"), True: re.compile(rb"\r\r|\n\n")}
LINES = re.compile(rb"\r\n|\n|\r")


def strings_of(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (found for pair in value.items() for part in pair for found in strings_of(part))
    elif isinstance(value, list):
        yield from (found for item in value for found in strings_of(item))


class Heard:
    """What the client read: bytes of the answer, lane by lane how much of a text there was and when."""

    def __init__(self, cr=False):
        self.blank = BLANKS[cr]
        self.raw, self.head, self.body = b"", b"", bytearray()
        self.status, self.over, self.broken = None, False, False
        self.text = collections.defaultdict(str)
        self.when = collections.defaultdict(list)  # lane -> [(ns, bytes of it)]
        self.data, self.block, self.looked = [], bytearray(), 0
        self.stopped = False  # the clock went on without us
        self.strings = []  # (ns, string) of everything but the lanes

    def feed(self, piece):
        now = time.monotonic_ns()
        self.raw += piece
        if self.status is None:
            if b"\r\n\r\n" not in self.raw:
                return
            head, _, self.raw = self.raw.partition(b"\r\n\r\n")
            self.head = head
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
        if self.body.startswith(b"\xef\xbb\xbf") and self.block.startswith(b"\xef\xbb\xbf"):
            del self.block[:3]
        while m := self.blank.search(self.block, self.looked):
            block = bytes(self.block[:m.start()])
            del self.block[:m.end()]
            self.looked = 0
            lines = [line[5:].removeprefix(b" ") for line in LINES.split(block) if line.startswith(b"data:")]
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
        self.strings += [(now, text) for text in strings_of(event)]


def texts_of(event):
    for choice in event.get("choices", ()):
        delta = choice.get("delta", {})
        if choice.get("text"):
            yield (choice["index"], "content"), choice["text"]
        for field in ("content", "reasoning_content"):
            if isinstance(delta.get(field), str) and delta[field]:
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


async def say(writer, plan):
    """Answers as planned; true: another request may come on the connection."""
    head, body, chunked = plan.answer()
    fault, broken = plan.fault, plan.random.randint(0, 30) if plan.fault == "badchunk" else -1
    writer.write(head.encode("latin-1"))
    pieces = plan.writes(body) if chunked else [body]
    for piece in pieces:
        if broken == 0:
            writer.write(plan.random.choice((b"zz\r\nbomb\r\n", b"-5\r\n", b"fffffffffffffffff1\r\n", b"3\r\nbombbomb\r\n")))
        broken -= 1
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked and piece else piece)
        await writer.drain()
        if plan.random.random() < (0.2 if plan.slow else 0.01):
            await asyncio.sleep(plan.random.random() * 0.02)
    if fault == "close" or not chunked:
        return fault in ("html", "empty", "redirect", "refuses")
    if fault == "stall":
        await asyncio.sleep(9)
    writer.write(b"0\r\nX-Trailer: a bomb\r\n\r\n" if fault == "trailer" else b"0\r\n\r\n")
    await writer.drain()
    return True


async def serve_plan(reader, writer):
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"GET "):  # is the upstream well?
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                continue
            n = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
            asked = json.loads(await reader.readexactly(n))
            if not await say(writer, Plan(int(asked["user"] if "user" in asked else asked["metadata"]["user_id"]))):
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    except asyncio.CancelledError:
        pass
    finally:
        if writer.transport.get_write_buffer_size() == 0:
            writer.close()
        else:
            writer.transport.abort()


def question(plan):
    body = {"model": "m", "messages": [{"role": "user", "content": f"hi {plan.seed}"}], "stream": True, "user": str(plan.seed)}
    if plan.proto == "messages":
        body |= {"max_tokens": 9, "metadata": {"user_id": body.pop("user")}}
    if plan.proto == "responses":
        body["input"] = body.pop("messages")
    if plan.proto == "completions":
        body["prompt"] = body.pop("messages")[0]["content"]
    data = json.dumps(body).encode()
    return (f"POST {PATHS[plan.proto]} HTTP/1.1\r\nHost: x\r\nX-Request-Id: s{plan.seed}\r\n"
            f"Content-Length: {len(data)}\r\n\r\n").encode() + data


async def hear_plan(port, plan):
    heard = Heard(plan.fault == "cr")
    sock = socket.socket()
    if plan.fault == "stopread":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        writer.write(question(plan))
        stop = plan.random.randint(1, 4000) if plan.fault in ("vanish", "stopread") else None
        while not heard.over and (piece := await asyncio.wait_for(reader.read(65536), 60)):
            heard.feed(piece)
            if stop and len(heard.body) > stop:
                break
            if plan.slow and plan.random.random() < 0.2:
                await asyncio.sleep(0.01)
        if plan.fault == "stopread" and not heard.over:
            writer.transport.pause_reading()
            await asyncio.sleep(3.5)
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
                ahead = len(text) > final  # one that may still change is held back like the others
                found[seed].append((ns, len(text) if ended else final + ahead - HOLD, text))
    return found


def spans_of(sent, log):
    """(ns, from, to) of the lane's bytes, from the verdicts on them."""
    for at, n, text in log:
        if text.startswith(b"look"):  # a tool's name is judged with its arguments
            n, text = n - 4, text[4:]
        place = sent.find(text) if n > 0 else -1
        while place >= 0:
            yield at, place, place + n
            place = sent.find(text, place + 1)


def allowed(spans, ns):
    """Bytes of the lane that may have left at ns: what verdicts cover from its first byte on."""
    reach = 0
    for at, begin, end in spans:  # by begin
        if begin > reach and at <= ns:
            break
        if at <= ns:
            reach = max(reach, end)
    return reach


def check_body(plan, heard):
    want, got = (re.sub(rb"(\A|(?<=[\r\n])|(?<=\xbf)):[^\r\n]*", b":", body) for body in (Plan(plan.seed).body(), heard.body))
    assert got == want, "the body is not the upstream's"


def check_shadow(plan, heard):
    want = Plan(plan.seed).body()
    if plan.fault in STATUS or plan.fault in ("line64", "zipbomb", "coding", "badgzip", "badchunk", "cutlength"):
        return
    assert want.startswith(heard.body), "the body is not the upstream's"
    assert plan.fault in ("close", "vanish", "stall", "stopread") or heard.body == want, "the body was cut"


def check_judged(plan, heard, log):
    """Every byte that left had its verdict by then."""
    sent = {lane: plan.text(lane) for lane in plan.lanes}
    for lane, moments in heard.when.items():
        if lane not in sent:
            continue
        spans = sorted(spans_of(sent[lane].encode(), log), key=lambda span: span[1])
        for ns, n in moments:
            most = allowed(spans, ns)
            assert n <= most, f"{lane}: {n} bytes had left when {most} were allowed: {heard.text[lane]!r}"
        place = sent[lane].find("bomb")
        # a text that another one interrupts is judged up to there for good, so "bom" may have left before its "b" came
        assert place < 0 or len(heard.text[lane]) < place + 4, f"{lane}: a hit left: {heard.text[lane]!r}"
    for ns, text in heard.strings:
        assert "bomb" not in text, f"a hit left: {text!r}"
        if f"x{plan.seed:x}." not in text:
            continue
        said = text.encode()
        assert any(at <= ns and 0 <= (place := whole.find(said)) and place + len(said) <= n for at, n, whole in log), \
            f"{text!r} had left before its verdict"
    assert b"bomb" not in heard.head and b"bomb" not in heard.body, f"a hit left: {heard.head!r}"


def check_end(plan, heard, opened):
    if plan.fault in STATUS and not opened:
        assert heard.status == STATUS[plan.fault] and not heard.broken, f"status {heard.status}, broken {heard.broken}"
    if not plan.hits and plan.fault in SAME_BODY:
        assert heard.status == 200 and not heard.broken, f"status {heard.status}, broken {heard.broken}"
        assert all(heard.text[lane] == plan.text(lane) for lane in plan.lanes), "text is missing"
        check_body(plan, heard)
    if plan.hits and plan.fault in SAME_BODY:
        end = "".join(heard.data[-4:])
        word = {"messages": "refusal", "responses": "response.incomplete"}.get(plan.proto, "content_filter")
        assert heard.status == 200 and not heard.broken and word in end, f"no proper end of a cut reply: {end[-300:]}"
    if not plan.hits and plan.outcomes(opened) <= {"failed", "unjudged", "upstream"}:
        assert b"error" in heard.body and not heard.broken, f"no error at its end: {heard.body[-300:]}"


def check(plan, heard, judged, outcomes, shadow=False, opened=False):
    """Raises AssertionError with what is wrong."""
    assert heard.status is not None or plan.fault == "vanish", "no answer"
    if shadow:
        return check_shadow(plan, heard)
    for lane, text in heard.text.items():
        unread = opened and plan.fault in (*UNREAD, *STATUS)  # passes as it is
        sent = plan.text(lane) if lane in plan.lanes and not unread else text
        assert sent.startswith(text), f"{lane}: {text!r} is no beginning of {sent!r}"
    if not opened or plan.fault not in (*JUDGED_WRONG, *UNREAD, *STATUS, "endless"):
        check_judged(plan, heard, judged[plan.seed])
    check_end(plan, heard, opened)
    got = outcomes.get(plan.seed)
    assert got in plan.outcomes(opened), f"it ended as {got}, not as {plan.outcomes(opened)}"


def read_outcomes(path):
    """seed -> how the audit log says that it ended."""
    found = {}
    for line in open(path):
        said = json.loads(line)
        if said.get("role") == "user" and said["request"].startswith("s"):
            found[int(said["request"][1:])] = said["outcome"]
    return found


class Page:
    """The metrics page."""

    def __init__(self, gateway):
        self.rows = collections.Counter()
        for line in gateway.get("/metrics").body.decode().splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                self.rows[name] = float(value)

    def __getitem__(self, name):
        return self.rows[name]

    def outcomes(self):
        return {name.split('"')[1]: int(n) for name, n in self.rows.items() if name.startswith("qguard_gateway_outcomes_total{") and n}


# What must have been counted when a fault was among the streams (closed).
COUNTED = {
    "sleep=3000": 'qwen3guard_failures_total{role="response",reason="deadline_exceeded",outcome="closed"}',
    "hang": 'qwen3guard_failures_total{role="response",reason="deadline_exceeded",outcome="closed"}',
    "busy": 'qwen3guard_failures_total{role="response",reason="overloaded",outcome="closed"}',
    "nan": 'qwen3guard_failures_total{role="response",reason="internal_error",outcome="closed"}',
    "endless": 'qwen3guard_failures_total{role="response",reason="too_long",outcome="closed"}',
    "gone": "qguard_gateway_sessions_rebuilt_total",
    "coding": 'qguard_gateway_upstream_errors_total{cause="protocol"}', "switch": 'qguard_gateway_upstream_errors_total{cause="protocol"}',
    "close": 'qguard_gateway_upstream_errors_total{cause="broken"}', "redirect": 'qguard_gateway_upstream_errors_total{cause="status"}',
    "tired": 'qguard_gateway_upstream_errors_total{cause="status"}', "stopread": 'qguard_gateway_outcomes_total{outcome="gone"}',
}


def check_page(gateway, outcomes, faults_seen):
    """What the metrics page says against what the streams say."""
    page, deadline = Page(gateway), time.monotonic() + 20
    while page["qguard_gateway_streams"] and time.monotonic() < deadline:
        time.sleep(0.1)
        page = Page(gateway)
    want = collections.Counter(outcomes.values())
    if page.outcomes() != dict(want):
        yield f"the metrics page counts {page.outcomes()}, the streams {dict(want)}"
    for fault in faults_seen:
        if fault in COUNTED and not page[COUNTED[fault]]:
            yield f"{fault} is not counted in {COUNTED[fault]}"


async def watch_clock(stops):
    """Notes when this process was stopped for more than a second (a busy machine): deadlines have passed meanwhile."""
    before = time.monotonic()
    while True:
        await asyncio.sleep(0.1)
        now = time.monotonic()
        if now - before > 1:
            stops.append(now)
        before = now


async def run(binary, first, n, shadow=False, opened=False, at_once=40, show=lambda line: None):
    server = await asyncio.start_server(serve_plan, "127.0.0.1", 0, limit=1 << 20)
    port = server.sockets[0].getsockname()[1]
    folder = tempfile.TemporaryDirectory()
    log, audit, policy = (pathlib.Path(folder.name) / name for name in ("judge.log", "audit.jsonl", "policy.yaml"))
    log.touch()
    policy.write_text(f"version: 1\nhold_back_tokens: {HOLD}\n" + ("shadow: true\n" if shadow else "")
                      + ("on_error: {prompt: closed, response: open}\n" if opened else ""))
    env = {"QGUARD_FAKE_LOG": str(log), "QGUARD_FAKE_DELAY_US": "4000"}
    gateway = await asyncio.to_thread(Server, [
        str(binary), "--upstream", f"http://127.0.0.1:{port}/v1", "--judge-ms", "2000", "--stall-ms", "8000", "--write-ms", "2000",
        "--policy", str(policy), "--max-sessions", "60000", "--max-model-len", "60000", "--audit-log", str(audit)], env)
    faults, counts, gate, stops = [], collections.Counter(), asyncio.Semaphore(at_once), []
    watch = asyncio.create_task(watch_clock(stops))

    async def one(seed):
        async with gate:
            plan, stopped = Plan(seed), len(stops)
            heard = await hear_plan(gateway.port, plan)
            heard.stopped = len(stops) > stopped
            counts[plan.fault, bool(plan.hits), heard.status, heard.broken] += 1
            return plan, heard
    for begin in range(first, first + n, 500):
        seeds = range(begin, min(begin + 500, first + n))
        done = await asyncio.gather(*(one(seed) for seed in seeds), return_exceptions=True)
        if gateway.process.poll() is None:
            faults += [] if shadow or opened else await asyncio.to_thread(
                lambda: list(check_page(gateway, read_outcomes(audit), {fault for fault, hit, *_ in counts if not hit})))
        judged, outcomes = by_stream(read_log(log)), read_outcomes(audit)
        for seed, result in zip(seeds, done):
            try:
                if isinstance(result, BaseException):
                    raise AssertionError(f"the client failed: {result!r}")
                check(*result, judged, outcomes, shadow, opened)
            except AssertionError as wrong:
                if not isinstance(result, BaseException) and result[1].stopped and "left" not in str(wrong):
                    continue  # what a deadline made of it says nothing
                plan = Plan(seed)
                told = result[1].body[:300] if not isinstance(result, BaseException) and result[1].status != 200 else ""
                faults.append(f"seed {seed} ({plan.proto}, fault {plan.fault}, hits {plan.hits}): {wrong} {told}")
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
    watch.cancel()
    server.close()
    folder.cleanup()
    return faults, counts


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--streams", type=int, default=400)
    p.add_argument("--first", type=int, default=1)
    p.add_argument("--shadow", action="store_true")
    p.add_argument("--open", action="store_true", help="on_error: open for replies")
    p.add_argument("--at-once", type=int, default=40)
    p.add_argument("--gateway", default=REPO / "build/tests/gateway/qguard-fake-gateway")
    args = p.parse_args()
    begun = time.monotonic()
    faults, counts = asyncio.run(run(args.gateway, args.first, args.streams, args.shadow, args.open, args.at_once, show=lambda line: print(line, flush=True)))
    for (fault, hits, status, broken), n in sorted(counts.items(), key=str):
        print(f"{n:6} fault {fault}, hit {hits}: status {status}{', broken off' if broken else ''}")
    print(f"{args.streams} streams in {time.monotonic() - begun:.0f} s, {len(faults)} wrong")
    for line in faults[:40]:
        print(line)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
