"""What the upstream of hostile.py says, drawn from a seed: protocol, texts, how they are cut, and what is wrong with them."""
import collections
import json
import random
import zlib

PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions", "messages": "/v1/messages", "responses": "/v1/responses"}
JUDGED_WRONG = ("nan", "busy", "gone", "hang", "sleep=3000")
UNREAD = ("broken", "twin", "index")  # events that cannot be read

# What is wrong -> how a reply without a hit may end (docs/GATEWAY.md). A hit may always come first.
OUTCOMES = {
    None: {"passed"}, "twice": {"passed"}, "behind": {"passed"}, "stall": {"passed"}, "error": {"passed"},
    "close": {"upstream", "passed"}, "early": {"upstream", "passed"},  # a reply that ends behind its finish reason is whole
    **dict.fromkeys(UNREAD, {"failed"}), "long": {"failed"}, "line64": {"failed"}, "zipbomb": {"failed"},
    **dict.fromkeys(JUDGED_WRONG, {"unjudged", "passed"}),  # not every text of them has the word
    "endless": {"unjudged"},
    "vanish": {"gone", "passed"}, "stopread": {"gone"},
    # ways to write the same
    "gzip": {"passed"}, "deflate": {"passed"}, "trickle": {"passed"}, "cr": {"passed"}, "bom": {"passed"}, "lines": {"passed"},
    "names": {"passed"}, "headers": {"passed"}, "trailer": {"passed"}, "interim": {"passed"}, "extra": {"passed"},
    # codings and framing that are broken
    "badgzip": {"upstream", "passed", "failed"}, "coding": {"upstream"}, "badchunk": {"upstream", "passed"}, "cutlength": {"upstream", "passed"},
    # answers that are no event stream
    "html": {"failed"}, "empty": {"upstream"}, "part": {"failed"}, "switch": {"upstream"}, "redirect": {"upstream"},
    "tired": {"failed"}, "nostatus": {"upstream"}, "refuses": {"passed"},
}
FAULTS = tuple(fault for fault in OUTCOMES if fault)
RARE = ("line64", "zipbomb", "stopread", "long")  # they cost much
OPEN = {**OUTCOMES, **dict.fromkeys((*JUDGED_WRONG, *UNREAD, "endless"), {"passed"}), "tired": {"passed"}, "html": {"passed"},
        "part": {"passed"}}
STATUS = {"html": 502, "empty": 502, "part": 502, "switch": 502, "redirect": 502, "tired": 502, "nostatus": 502, "refuses": 429}
WORDS = ("so ", "it is ", "the fuse, ", "\n\n", "{\"a\": 1} ", "\\ ", "„ä“ ", "今天天气 ", "😀👍 ", "e\u0301 ", "\u2028", "\t", "bom ",
         "b", "<b>x</b> ", "a" * 40, "1234 ")
EOLS = {"cr": "\r"}


class Plan:
    def __init__(self, seed):
        r = self.random = random.Random(seed)
        self.seed = seed
        self.proto = r.choices(list(PATHS), (5, 2, 2, 2))[0]
        self.fault = r.choices(FAULTS, [0.15 if fault in RARE else 1 for fault in FAULTS])[0] if r.random() < 0.6 else None
        self.eol = EOLS.get(self.fault) or r.choice(("\n", "\n", "\r\n"))
        self.comments = r.random() < 0.3
        self.slow = r.random() < 0.1
        self.lanes = collections.OrderedDict()  # (choice, field) -> [deltas]
        for choice in range(r.choices((1, 2, 3), (7, 2, 1))[0] if self.proto in ("chat", "completions") else 1):
            for field in self.fields():
                self.lanes[choice, field] = self.deltas(f"{seed:x}.{choice}{field[0]}:")
        self.extras = []  # texts in members that are none of the lanes'
        if self.fault == "extra":
            self.extras = [f"x{seed:x}.{i}: " + "".join(r.choice(WORDS) for _ in range(r.randint(1, 6)))
                           + ("bomb" if r.random() < 0.15 else "") for i in range(r.randint(1, 4))]
        self.hits = [lane for lane in self.lanes if "bomb" in self.text(lane)] + [text for text in self.extras if "bomb" in text]

    def fields(self):
        r = self.random
        names = {"chat": ("content", "reasoning_content", "tool"), "messages": ("content", "thinking", "tool"),
                 "completions": ("content",), "responses": ("content",)}[self.proto]
        return [names[0]] + [name for name in names[1:] if r.random() < 0.25]

    def deltas(self, mark):
        r = self.random
        if self.fault == "endless":
            return [mark] + ["".join(f"and {i}.{k} " for k in range(200)) for i in range(100)]
        if self.fault == "stopread":
            return [mark] + ["o"] * 1500
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

    def outcomes(self, opened=False):
        """What may become of it."""
        may = (OPEN if opened else OUTCOMES)[self.fault]
        return may | {"cut"} if self.hits and self.fault not in STATUS else may

    # ---- events

    def dump(self, event):
        """JSON with as many escapes as the seed wants."""
        how = self.random.choice((0, 1, 1, 2)) if self.fault != "lines" else 3
        if how < 2:
            return json.dumps(event, ensure_ascii=how == 0)
        if how == 3:
            return json.dumps(event, indent=1)
        strange = json.dumps(event, ensure_ascii=False)
        return strange.replace("bomb", "\\u0062o\\u006Db") if '\\' not in strange else strange

    def events(self):
        """(name of the event, its data) in order."""
        r, left = self.random, {lane: list(deltas) for lane, deltas in self.lanes.items()}
        events = list(getattr(self, self.proto)(left))
        wrong = {"broken": '{"choices":[{', "error": '{"error":{"message":"I am tired","code":7}}',
                 "long": '{"x":"%s"}' % ("y" * (5 << 20)),
                 "twin": '{"choices":[{"index":0,"delta":{"content":"x","content":"y"}}],"delta":"x","delta":"y"}',
                 "index": '{"type":"content_block_delta","index":-1,"output_index":-1,"choices":[{"index":-1}],"delta":{}}'}
        if self.fault in ("line64", "zipbomb"):  # which follows in writes()
            events = events[:-1]
        if self.fault in wrong:
            events.insert(r.randint(0, len(events) - 1), (None, wrong[self.fault]))
        for text in self.extras:
            events.insert(r.randint(1 if self.proto in ("messages", "responses") else 0, len(events) - 1), self.extra(text))
        if self.fault == "early":
            events = events[:r.randint(0, len(events) - 2)]
        if self.fault == "behind":
            events += [(None, "x y z"), events[0]]
        if self.fault == "twice":
            events += events[-2:] if self.proto in ("chat", "completions") else events[-1:]
        return events

    def extra(self, text):
        """A text where nobody looks for one."""
        r = self.random
        places = {
            "chat": ({"choices": [], "note": text}, {"choices": [{"index": 0, "delta": {}, "note": text}]},
                     {"choices": [{"index": 0, "delta": {"note": text}}]}, {"choices": [], "deep": {"a": [{"b": text}]}},
                     {"choices": [], "usage": {"total_tokens": 3, "note": text}}, {"choices": [], "error": {"message": text}},
                     {"choices": [], "id": text}, {"choices": [], "system_fingerprint": text},
                     {"choices": [{"index": 0, "delta": {"refusal": text}}]},
                     {"choices": [{"index": 7, "delta": {"content": [{"type": "text", "text": text}]}}]},
                     {"choices": [{"index": 0, "delta": {"function_call": {"name": "f", "arguments": text}}}]},
                     {"choices": [{"index": 0, "delta": {"audio": {"id": "a", "transcript": text}}}]},
                     {"choices": [{"index": 0, "delta": {"reasoning_details": [{"type": "reasoning.text", "text": text}]}}]},
                     {"choices": [{"index": 0, "delta": {"annotations": [{"type": "url_citation", "url_citation": {"title": text}}]}}]},
                     {"choices": [{"index": 9, "message": {"role": "assistant", "content": text}}]},
                     {"choices": [{"index": 0, "delta": {}, "logprobs": {"content": [
                         {"token": "", "bytes": [], "top_logprobs": [{"token": text, "logprob": -1}]}]}}]},
                     {"choices": [{"index": 0, "delta": {}, "logprobs": {"content": [{"token": text, "bytes": [], "top_logprobs": []}]}}]},
                     {"choices": [], "prompt_logprobs": [None, {"7": {"decoded_token": text}}]}),
            "completions": ({"choices": [], "note": text}, {"choices": [{"index": 0, "text": "", "note": text}]},
                            {"choices": [{"index": 0, "text": "", "stop_reason": text}]},
                            {"choices": [{"index": 0, "text": "", "logprobs": {"tokens": [""], "top_logprobs": [{text: -1}]}}]}),
            "messages": ({"type": "ping", "note": text}, {"type": "new", "new": {"deep": text}},
                         {"type": "content_block_start", "index": 9, "content_block": {"type": "text", "text": text}},
                         {"type": "content_block_start", "index": 8, "content_block": {
                             "type": "web_search_tool_result", "content": [{"type": "web_search_result", "title": text}]}},
                         {"type": "content_block_delta", "index": 7, "delta": {"type": "signature_delta", "signature": text}},
                         {"type": "content_block_delta", "index": 6, "delta": {
                             "type": "citations_delta", "citation": {"type": "char_location", "cited_text": text}}}),
            "responses": ({"type": "response.new.delta", "delta": text}, {"type": "keepalive", "note": text},
                          {"type": "response.in_progress", "response": {"id": "r1", "instructions": text}},
                          {"type": "response.in_progress", "response": {"id": "r1", "metadata": {"a": text}}},
                          {"type": "response.output_text.annotation.added", "output_index": 0, "annotation": {"title": text}},
                          {"type": "response.output_item.added", "output_index": 4, "item": {
                              "id": "i9", "type": "mcp_call", "output": text}}),
        }[self.proto]
        event = r.choice(places)
        return event.get("type"), self.dump(event)

    def chat(self, left):
        r = self.random

        def chunk(index, delta, finish=None):
            event = {"id": f"c{self.seed}", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [
                {"index": index, "delta": delta, "finish_reason": finish}]}
            if self.fault == "stopread":
                event["pad"] = [0] * 4000
            return None, self.dump(event)
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

    def completions(self, left):
        def chunk(index, text, finish=None):
            event = {"id": f"c{self.seed}", "object": "text_completion", "created": 1, "model": "m",
                     "choices": [{"index": index, "text": text, "logprobs": None, "finish_reason": finish}]}
            if self.fault == "stopread":
                event["pad"] = [0] * 4000
            return None, self.dump(event)
        while any(left.values()):
            lane = self.random.choice([lane for lane in left if left[lane]])
            text = left[lane].pop(0)
            yield chunk(lane[0], text, None if left[lane] else "length")
        yield None, "[DONE]"

    def messages(self, left):
        def event(name, **more):
            if self.fault == "stopread":
                more["pad"] = [0] * 4000
            return name, self.dump({"type": name, **more})
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
            if self.fault == "stopread":
                more["pad"] = [0] * 4000
            return name, self.dump({"type": name, "sequence_number": next(number), **more})
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
        """Of the answer, before any coding."""
        r, out = self.random, ["\ufeff"] if self.fault == "bom" else []
        for name, data in self.events():
            if self.comments and r.random() < 0.3:
                out.append(f": noise {r.random()}{self.eol}")
                if r.random() < 0.5:
                    out.append(self.eol)
            if self.fault == "names":
                out.append(f"event:{name or 'chunk'}{self.eol}id: {self.seed}.{len(out)}{self.eol}retry:1000{self.eol}")
            elif name:
                out.append(f"event: {name}{self.eol}")
            for line in data.split("\n"):
                out.append(f"data:{r.choice((' ', ' ', '')) if not line.startswith(' ') else ' '}{line}{self.eol}")
            out.append(self.eol)
        return "".join(out).encode()

    def answer(self):
        """Its head, its body as (bytes, chunked?) and whether the connection stays."""
        r, fault = self.random, self.fault
        if fault in STATUS:
            return self.refusal()
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        body = self.body()
        if fault == "interim":
            head = "".join(f"HTTP/1.1 {status}\r\nX-Bomb: a bomb\r\n\r\n" for status in ("100 Continue", "103 Early Hints")) + head
        if fault == "headers":
            head += "X-Bomb: a bomb\r\nSet-Cookie: bomb=bomb\r\nRetry-After: a bomb\r\nLink: <bomb>\r\nWarning: 199 - bomb\r\n"
        if fault == "close":
            body = body[:r.randint(0, len(body) - 1)]
        if fault in ("gzip", "deflate", "badgzip", "zipbomb"):
            head += f"Content-Encoding: {'deflate' if fault == 'deflate' else 'gzip'}\r\n"
        if fault == "coding":
            head += f"Content-Encoding: {r.choice(('br', 'zstd', 'x-new', 'gzip, gzip', 'compress'))}\r\n"
        if fault == "cutlength":
            return head + f"Content-Length: {r.randint(0, len(body) - 1)}\r\n\r\n", body, False
        return head + "Transfer-Encoding: chunked\r\n\r\n", body, True

    def refusal(self):
        fault, text = self.fault, b'<html><p>There was a bomb here.</p></html>'
        status = {"html": "200 OK", "empty": "200 OK", "part": "206 Partial Content", "switch": "101 Switching Protocols",
                  "redirect": "302 Found", "tired": "500 Internal bomb", "nostatus": "999 What", "refuses": "429 Too Many"}[fault]
        kind = "text/event-stream" if fault in ("empty", "part", "switch") else "text/html"
        if fault == "empty":
            text = b""
        if fault in ("part", "switch"):
            text = b'data: {"choices":[{"index":0,"delta":{"content":"a bomb"}}]}\n\n'
        if fault == "refuses":
            kind, text = "application/json", b'{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":null}}'
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nLocation: http://127.0.0.1:1/bomb\r\nRetry-After: 3 bombs\r\n"
        return head + ("\r\n" if fault == "switch" else f"Content-Length: {len(text)}\r\n\r\n"), text, False

    def writes(self, body):
        """The body in pieces, coded as the head says."""
        r, fault = self.random, self.fault
        size = 1 if fault == "trickle" else r.choice((1, 7, 60, 400, 5000, 1 << 20))
        if fault in ("zipbomb", "long", "stopread"):
            size = 1 << 16
        coder = None
        if fault in ("gzip", "badgzip", "zipbomb", "deflate"):
            coder = zlib.compressobj(wbits=15 if fault == "deflate" else 31)
        wrong = r.randint(0, 20) if fault == "badgzip" else -1
        at = 0
        while at < len(body):
            n = len(body) - at if size == 1 << 20 else r.randint(1, max(size, len(body) // 3000))
            piece, at = body[at:at + n], at + n
            if coder:
                last = at >= len(body) and fault != "zipbomb"
                piece = coder.compress(piece) + coder.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)
            if wrong == 0:
                piece = bytes(byte ^ r.randint(0, 255) for byte in piece)
            wrong -= 1
            yield piece
        if fault == "line64":
            yield b"data: "
            yield from [b"y" * 65536] * 1024
        if fault == "zipbomb":
            yield coder.compress(b"data: ")
            yield from (coder.compress(b"y" * (1 << 20)) + coder.flush(zlib.Z_SYNC_FLUSH) for _ in range(64))
