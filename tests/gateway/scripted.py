"""An upstream that does as it is told, and the process of a gateway."""
import json
import pathlib
import sys
import threading
import time

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPO / "tests" / "http"))
from peer import Peer  # noqa: E402
from wire import Raw, Server, request  # noqa: E402


class Upstream(Peer):
    """A peer whose scripts get a Connection (send(), event(), head() …) and what was Asked."""

    def __init__(self, script, tls=None):
        self.aborted = threading.Event()
        super().__init__(script, tls)

    def wrap(self, sock):
        return Connection(sock, self.aborted)

    def read(self, conn):
        return conn.read()

    def lost(self):
        self.aborted.set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"


class Asked:
    def __init__(self, head, body):
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.path, _ = lines[0].split(" ")
        self.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
        self.raw = body
        self.json = json.loads(body) if body else None


class Connection:
    def __init__(self, sock, aborted):
        self.sock, self.buffer, self.aborted = sock, b"", aborted

    def read(self):
        while b"\r\n\r\n" not in self.buffer:
            piece = self.sock.recv(65536)
            if not piece:
                return None
            self.buffer += piece
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        n = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                n = int(line.split(b":")[1])
        while len(rest) < n:
            rest += self.sock.recv(65536)
        self.buffer = rest[n:]
        return Asked(head, rest[:n])

    def send(self, data):
        self.sock.sendall(data)

    def head(self, status="200 OK", type="text/event-stream", more=""):
        self.send(f"HTTP/1.1 {status}\r\nContent-Type: {type}\r\n{more}"
                  "Transfer-Encoding: chunked\r\n\r\n".encode())

    def chunk(self, data):
        data = data.encode() if isinstance(data, str) else data
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, data):
        self.chunk(f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n")

    def delta(self, text, index=0, field="content", finish=None):
        delta = {field: text} if text is not None else {}
        self.event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [{"index": index, "delta": delta, "finish_reason": finish}]})

    def end(self):
        self.event("[DONE]")
        self.send(b"0\r\n\r\n")

    def whole(self, body, status="200 OK", type="application/json", more=""):
        body = body.encode() if isinstance(body, str) else body
        self.send(f"HTTP/1.1 {status}\r\nContent-Type: {type}\r\n{more}"
                  f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def closed(self, seconds=10):
        """True, and aborted is set, once the gateway has hung up."""
        self.sock.settimeout(seconds)
        try:
            over = self.sock.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            over = True
        if over:
            self.aborted.set()
        return over


def reply_of(text):
    return json.dumps({"id": "c1", "object": "chat.completion", "created": 1, "model": "m",
                       "choices": [{"index": 0, "finish_reason": "stop",
                                    "message": {"role": "assistant", "content": text}}]})


def saying(*pieces, pause=0.0):
    """A script that answers with these pieces, as a stream when that is asked for."""
    def script(conn, asked):
        if asked.method == "GET":
            return conn.whole('{"object":"list","data":[{"id":"m","object":"model"}]}')
        if not asked.json.get("stream"):
            return conn.whole(reply_of("".join(pieces)))
        conn.head()
        for piece in pieces:
            conn.delta(piece)
            time.sleep(pause)
        conn.delta(None, finish="stop")
        return conn.end()
    return script


class Gateway(Server):
    def open(self, timeout=90, **more):
        return Raw(self.port, timeout=timeout, **more)

    def ask(self, text="hi", stream=True, headers=(), path="/v1/chat/completions", **more):
        body = {"model": "m", "messages": [{"role": "user", "content": text}], "stream": stream,
                **more}
        return self.post(json.dumps(body).encode(), path, headers)

    def open_stream(self, text="hi", timeout=90, **more):
        body = {"model": "m", "messages": [{"role": "user", "content": text}], "stream": True,
                **more}
        return Raw(self.port, timeout=timeout).send(
            request("POST", "/v1/chat/completions", json.dumps(body).encode()))

    def metric(self, name, **labels):
        total = 0.0
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith(name + "{") or line.startswith(name + " "):
                if all(f'{k}="{v}"' in line for k, v in labels.items()):
                    total += float(line.rsplit(" ", 1)[1])
        return total

    def wait_metric(self, value, name, seconds=10, **labels):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.metric(name, **labels) != value:
            time.sleep(0.02)
        assert self.metric(name, **labels) == value, (name, labels)


def events(answer):
    """The data of an answer's events, JSON parsed."""
    found = []
    for block in answer.body.decode().split("\n\n"):
        for line in block.splitlines():
            if line.startswith("data: "):
                data = line[6:]
                found.append(data if data == "[DONE]" else json.loads(data))
    return found


def text_of(answer, index=0, field="content"):
    return "".join(choice["delta"].get(field) or "" for event in events(answer)
                   if event != "[DONE]" and "choices" in event for choice in event["choices"]
                   if choice["index"] == index)


def finish_of(answer):
    reasons = [choice.get("finish_reason") for event in events(answer)
               if event != "[DONE]" for choice in event.get("choices", ())]
    return [reason for reason in reasons if reason]
