#!/usr/bin/env python3
"""Load and attack on one server: mixed requests over all routes whose answers must be those of their questions.

    tests/soak/soak.py [--seconds 1800] [--workers 48] [--idle 10000] [--readers 2000] [--command build/qguard]

First every question is asked alone; what comes then is the expectation, but for ids, times and what caches change.
Then workers ask at random over kept connections, and in parts of the time beside them: many idle connections, many
open streams, readers that take some bytes a second, clients that are killed in mid-body, readers that vanish.  An
answer that is lost, swapped or other than expected is an error, as is memory that grows after the first half.
On a machine that stops this program for seconds the server's deadlines pass meanwhile: connections lost then are
counted apart ("lost while stopped").
The last line says what happened; the status is 0 only without an error.
"""
import argparse
import asyncio
import json
import pathlib
import random
import resource
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from questions import RIGHT, STREAMED, plain, questions  # noqa: E402

VICTIM = """
import socket, sys, time
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"POST /v1/guard HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 200000\\r\\n\\r\\n" + b'{"prompt":"' + b"x" * 90000)
time.sleep(60)
"""


class Lost(Exception):
    """The connection ended before the answer did."""


class Client:
    """One kept HTTP/1.1 connection."""

    def __init__(self, port, source=None):
        self.port, self.source, self.reader, self.writer = port, source, None, None

    async def connect(self):
        where = (self.source, 0) if self.source else None
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=where, limit=1 << 22)

    def close(self):
        if self.writer:
            self.writer.transport.abort()
        self.reader = self.writer = None

    async def send(self, method, path, body=b"", headers=""):
        if not self.writer:
            await self.connect()
        head = f"{method} {path} HTTP/1.1\r\nHost: soak\r\n{headers}"
        if method == "POST" and "Transfer-Encoding" not in headers:
            head += f"Content-Length: {len(body)}\r\n"
        self.writer.write(head.encode() + b"\r\n" + body)
        await self.writer.drain()

    async def head(self):
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        return int(lines[0].split(" ")[1]), headers

    async def chunk(self):
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        data = await self.reader.readexactly(size)
        await self.reader.readexactly(2)
        return data

    async def answer(self):
        """(status, headers, body)"""
        status, headers = await self.head()
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while piece := await self.chunk():
                body += piece
        elif "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
        else:
            body = await self.reader.read()
            self.close()
        if headers.get("connection") == "close":
            self.close()
        return status, headers, body

    async def ask(self, method, path, body=b"", headers=""):
        for attempt in (0, 1):
            fresh = self.writer is None
            try:
                await self.send(method, path, body, headers)
                return await asyncio.wait_for(self.answer(), 120)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.close()
                if fresh or attempt:  # a kept connection may have been closed as idle in between
                    raise Lost(f"{path}: {error!r}") from error


class Soak:
    def __init__(self, args):
        self.args, self.port, self.process = args, None, None
        self.counts, self.errors, self.rss = {}, [], []
        self.stop_at = self.begin = self.stalled = 0

    def count(self, what, n=1):
        self.counts[what] = self.counts.get(what, 0) + n

    def error(self, text):
        self.count("errors")
        if len(self.errors) < 20:
            self.errors.append(text)
            print("ERROR", text, flush=True)

    def lost(self, text):
        """A connection that ended early: an error, unless the whole machine stood still."""
        if time.monotonic() < self.stalled:
            self.count("lost while stopped")
        else:
            self.error(text)

    async def clock(self):
        while self.running():
            before = time.monotonic()
            await asyncio.sleep(0.2)
            late = time.monotonic() - before - 0.2
            if late > 2:
                self.stalled = time.monotonic() + 75
                self.count("stopped, s", round(late))

    def start_server(self):
        command = [self.args.command, "serve", "--port", "0", "--quiet", "--log", "note", "--kv-cache-mib", "256"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        self.port = int(line.split("http://127.0.0.1:")[1].split()[0])

    def running(self):
        return time.monotonic() < self.stop_at

    def part(self, first, last):
        """True in this share of the time."""
        done = (time.monotonic() - self.begin) / self.args.seconds
        return first <= done < last

    # ---- answers ----

    async def baseline(self, asked):
        client, expected = Client(self.port), []
        for question in asked:
            status, _, body = await client.ask("POST", question.path, question.body, question.headers)
            if status not in RIGHT:
                raise SystemExit(f"{question.path}: {status} {body[:300]}")
            expected.append((status, plain(question, body)))
        client.close()
        return expected

    async def worker(self, number, asked, expected):
        client, rng = Client(self.port), random.Random(number)
        n = 0
        while self.running():
            k = rng.randrange(len(asked))
            question, n, mark = asked[k], n + 1, f"soak-{number}-{n}"
            try:
                status, headers, body = await client.ask("POST", question.path, question.body,
                                                         f"X-Request-Id: {mark}\r\n{question.headers}")
            except (Lost, asyncio.TimeoutError) as error:
                self.lost(f"lost: {question.path}: {error!r}")
                client.close()
                continue
            self.count("answers")
            if headers.get("x-request-id") != mark:
                self.error(f"swapped: {mark} got {headers.get('x-request-id')}")
            if status in (429, 503) and headers.get("retry-after"):
                self.count("busy")
                await asyncio.sleep(0.2)
            elif b"deadline_exceeded" in body or status == 504:
                self.lost(f"late: {question.path} {body[:200]!r}")
            elif (status, plain(question, body)) != expected[k]:
                self.error(f"other than alone: {question.path} {question.body[:80]!r}: {status} {body[:300]!r}")
            if n % 500 == 0:
                client.close()
        client.close()

    # ---- crowds ----

    async def idle(self, first, last):
        """Keeps so many connections open that have asked once; those that the server closes are opened again."""
        open_now, pause = [], asyncio.Semaphore(200)

        async def one(number):
            client = Client(self.port, f"127.0.0.{2 + number % 8}")
            async with pause:
                try:
                    status, _, _ = await client.ask("GET", "/health")
                    open_now.append(client)
                    self.count("idle opened")
                    if status != 200:
                        self.error(f"health: {status}")
                except (Lost, OSError, asyncio.TimeoutError) as error:
                    self.lost(f"idle: {error!r}")
        while self.running() and self.part(0, last):
            if self.part(first, last):
                alive = [c for c in open_now if c.reader and not c.reader.at_eof()]
                for dead in set(open_now) - set(alive):
                    dead.close()
                open_now[:] = alive
                await asyncio.gather(*(one(i) for i in range(self.args.idle - len(open_now))))
                self.counts["idle at once"] = max(self.counts.get("idle at once", 0), len(open_now))
            await asyncio.sleep(1)
        for client in open_now:
            client.close()

    async def stream_reader(self, number, first, last, expected, gate):
        """An open stream over server-sent events: a turn of words, a pause, the next turn."""
        while self.running() and self.part(0, last):
            if not self.part(first, last):
                await asyncio.sleep(1)
                continue
            client = Client(self.port, f"127.0.0.{2 + number % 8}")
            try:
                async with gate:
                    await client.send("POST", "/v1/moderations/stream", b"",
                                      "Accept: text/event-stream\r\nTransfer-Encoding: chunked\r\n")
                    status, head = None, None
                    got = b""
                    text = STREAMED[number % len(STREAMED)]
                    line = json.dumps({"role": "assistant", "content": text, "end": True}).encode() + b"\n"
                    client.writer.write(b"%x\r\n%s\r\n" % (len(line), line))
                    status, head = await asyncio.wait_for(client.head(), 60)
                    while b"summary" not in got:
                        got += await asyncio.wait_for(client.chunk(), 60)
                self.counts["streams now"] = self.counts.get("streams now", 0) + 1
                self.counts["streams at once"] = max(self.counts.get("streams at once", 0), self.counts["streams now"])
                if status != 200 or stream_signature(got) != expected[number % len(STREAMED)]:
                    self.error(f"stream: {status} {got[:200]!r}")
                self.count("streams")
                while self.running() and self.part(first, last):  # stays open, says something now and then
                    await asyncio.sleep(20 + number % 20)
                    client.writer.write(b"%x\r\n%s\r\n" % (len(line), line))
                    got = b""
                    while b"summary" not in got:
                        got += await asyncio.wait_for(client.chunk(), 60)
                        if b'"session_gone"' in got:  # its memory went to others, as documented
                            break
                    if b'"session_gone"' in got:
                        self.count("streams evicted")
                        break
                    self.count("stream turns")
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
                self.lost(f"stream {number}: {error!r} {status} {got[-200:]!r}")
                await asyncio.sleep(1)
            finally:
                if head:
                    self.counts["streams now"] = self.counts.get("streams now", 0) - 1
                client.close()

    async def slow_reader(self, number):
        """Takes a large answer by small pieces, or leaves in the middle of it."""
        body = json.dumps({"batch": [{"prompt": f"slow {number} {i}"} for i in range(300)]}).encode()
        while self.running():
            client = Client(self.port)
            try:
                await client.send("POST", "/v1/guard", body)
                status, headers = await asyncio.wait_for(client.head(), 120)
                left = int(headers["content-length"])
                client.writer.transport.pause_reading()
                end = time.monotonic() + 20
                while left and self.running() and time.monotonic() < end:
                    client.writer.transport.resume_reading()
                    left -= len(await client.reader.read(8192))
                    await asyncio.sleep(0.2)
                self.count("slow readers")
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
                self.count("slow readers closed")
            client.close()

    async def vanisher(self, number):
        """Hangs up: in mid-head, in mid-body, while it waits, in the middle of an answer."""
        rng = random.Random(number)
        bulk = json.dumps({"batch": [{"prompt": f"gone {i} " + "words " * 40} for i in range(200)]}).encode()
        chat = json.dumps({"stream": True, "n": 64, "messages": [{"role": "user", "content": "go"}]}).encode()
        while self.running():
            client = Client(self.port)
            try:
                how = rng.randrange(4)
                if how == 0:
                    await client.connect()
                    client.writer.write(b"POST /v1/guard HTTP/1.1\r\nHos")
                elif how == 1:
                    await client.send("POST", "/v1/guard", b"", "Transfer-Encoding: chunked\r\n")
                    client.writer.write(b"ffff\r\n{" + b" " * 1000)
                elif how == 2:
                    await client.send("POST", "/v1/guard", bulk)
                else:
                    await client.send("POST", "/v1/chat/completions", chat)
                    await asyncio.wait_for(client.head(), 60)
                    await client.reader.read(rng.randrange(1, 400))
                await asyncio.sleep(rng.random() * 0.1)
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
                pass
            self.count("vanished")
            client.close()
            await asyncio.sleep(0.3)

    async def killer(self):
        """Whole processes, killed in the middle of a body."""
        while self.running():
            victim = await asyncio.create_subprocess_exec(sys.executable, "-c", VICTIM, str(self.port))
            await asyncio.sleep(1.5)
            victim.send_signal(signal.SIGKILL)
            await victim.wait()
            self.count("killed in mid-body")
            await asyncio.sleep(3)

    # ---- watching ----

    def resident(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) / 1024

    async def watch(self):
        client = Client(self.port)
        told = time.monotonic()
        while self.running():
            self.rss.append((time.monotonic() - self.begin, self.resident()))
            start = time.monotonic()
            status, _, _ = await client.ask("GET", "/health")
            waited = time.monotonic() - start
            self.counts["slowest health, ms"] = max(self.counts.get("slowest health, ms", 0), round(waited * 1000))
            if status != 200:
                self.error(f"health {status}")
            if time.monotonic() - told > 30:
                told = time.monotonic()
                print(f"{told - self.begin:.0f} s: {self.rss[-1][1]:.0f} MiB, {self.counts}", flush=True)
            await asyncio.sleep(1)
        client.close()

    def judge_memory(self):
        """What is held at the end of the quiet second half may not be more than at its beginning, but for some noise."""
        def at(first, last):
            part = [mib for t, mib in self.rss if first <= t / self.args.seconds < last]
            return sorted(part)[len(part) // 2] if part else 0
        half, end = at(0.55, 0.65), at(0.92, 1)
        self.counts |= {"MiB at half": round(half, 1), "MiB at end": round(end, 1),
                        "MiB at most": round(max(mib for _, mib in self.rss), 1)}
        if end > half * 1.05 + 8:
            self.error(f"memory grew from {half:.1f} to {end:.1f} MiB")

    async def run(self):
        asked = questions(self.args.texts)
        expected = await self.baseline(asked)
        streams = [await stream_alone(self.port, text) for text in STREAMED]
        self.begin = time.monotonic()
        self.stop_at = self.begin + self.args.seconds
        print(f"{len(asked)} questions, {self.resident():.0f} MiB", flush=True)
        gate = asyncio.Semaphore(100)
        jobs = [self.worker(i, asked, expected) for i in range(self.args.workers)]
        jobs += [self.idle(0, 0.25)] if self.args.idle else []
        jobs += [self.stream_reader(i, 0.25, 0.5, streams, gate) for i in range(self.args.readers)]
        jobs += [self.slow_reader(i) for i in range(4)] + [self.vanisher(i) for i in range(4)]
        jobs += [self.killer(), self.watch(), self.clock()]
        for done in await asyncio.gather(*jobs, return_exceptions=True):
            if isinstance(done, Exception):
                self.error(f"the client: {done!r}")
        self.judge_memory()

    def end(self):
        if self.process.poll() is not None:
            self.error(f"the server ended: {self.process.returncode}")
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            if self.process.wait(60):
                self.error(f"status {self.process.returncode}")
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.error("the server did not end")


def stream_signature(data):
    """What was said about the first turn: each judged token and its verdict."""
    lines = [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: {")]
    return [(t["index"], t["id"], t["severity"], t["p"]["severity"]["Unsafe"]) for t in lines if t.get("final")]


async def stream_alone(port, text):
    client = Client(port)
    body = json.dumps({"role": "assistant", "content": text, "end": True}).encode() + b"\n"
    _, _, got = await client.ask("POST", "/v1/moderations/stream", body, "Accept: text/event-stream\r\n")
    client.close()
    return stream_signature(got)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--seconds", type=float, default=1800)
    args.add_argument("--workers", type=int, default=48)
    args.add_argument("--idle", type=int, default=10000)
    args.add_argument("--readers", type=int, default=2000)
    args.add_argument("--texts", type=int, default=40)
    args.add_argument("--command", default=str(HERE.parents[1] / "build" / "qguard"))
    args = args.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    soak = Soak(args)
    soak.start_server()
    try:
        asyncio.run(soak.run())
    finally:
        soak.end()
    soak.counts.pop("streams now", None)
    print(f"{args.seconds:.0f} s, {soak.counts.get('errors', 0)} errors: "
          + ", ".join(f"{what} {n}" for what, n in soak.counts.items() if what != "errors"))
    return 1 if soak.errors else 0


if __name__ == "__main__":
    sys.exit(main())
