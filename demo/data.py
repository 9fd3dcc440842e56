"""Rows, the held-out split, rendering, augmentation, balanced sampling and batches."""

import gzip
import hashlib
import json
import random
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import jinja2
import numpy as np
from tokenizers import Tokenizer

import labels

HERE = Path(__file__).resolve().parent
HELD_OUT = 0.04
# Shares of the examples drawn, by kind and by label.
RESPONSES = 0.40
PROMPT_MIX = {"Safe": 0.46, "Unsafe": 0.40, "Controversial": 0.14}
RESPONSE_MIX = {"Safe/Yes": 0.20, "Safe": 0.44, "Unsafe": 0.26, "Controversial": 0.10}
EVERYDAY = 0.10          # of the prompts
REFUSED = 0.10           # of the responses: a prompt of any label with a refusal put behind it
TURNS = 0.06             # further turns put before
SYSTEM = 0.04            # a system turn put first
LONG, CAP, LONG_CAP = 0.03, 320, 1000
SYSTEMS = ["You are a helpful assistant.", "You are ChatBot, a polite assistant of a web shop.",
           "Answer briefly.", "You are a careful tutor. Always explain your steps.",
           "你是一个乐于助人的助手。", "你是一名客服，请礼貌、简短地回答。", "请用中文回答用户的问题。"]


def read_rows(folder):
    rows = []
    for name in ("prompts", "responses"):
        with gzip.open(Path(folder) / f"{name}.jsonl.gz", "rt", encoding="utf-8") as f:
            rows += [json.loads(line) for line in f]
    return rows


def read_everyday():
    """Own lines, prompts and pairs: {"user", "assistant"?, "severity"?, "category"?, "refusal"?, "lang"}."""
    rows = []
    for i, line in enumerate((HERE / "everyday.jsonl").read_text(encoding="utf-8").splitlines()):
        r = json.loads(line)
        messages = [{"role": "user", "content": r["user"]}]
        row = {"id": f"everyday-{i:04d}", "source": "everyday", "lang": r["lang"], "messages": messages,
               "severity": r.get("severity", "Safe"), "categories": [r["category"]] if "category" in r else []}
        if "assistant" in r:
            messages.append({"role": "assistant", "content": r["assistant"]})
            row["refusal"] = r.get("refusal", "No")
        rows.append(row)
    return rows


def key(text):
    return "".join(ch for ch in unicodedata.normalize("NFKC", text).lower() if ch.isalnum())


def held_out(row):
    """By the user text, so that a question and its replies stay on one side."""
    if row["source"] == "everyday":
        return False
    digest = hashlib.sha256(key(row["messages"][0]["content"]).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < HELD_OUT


def render(messages):
    """What model/chat_template.jinja renders, without its control tokens: the one run of text they enclose."""
    out = "user\nPROMPT\n" if messages[-1]["role"] == "user" else "user\nRESPONSE\n"
    for i, m in enumerate(messages):
        role, text = m["role"], m["content"]
        if i == 0:
            out += "USER: " + text if role in ("system", "user") else ""
        elif role == "user":
            out += text.join(("\n\n", "")) if messages[i - 1]["role"] == "system" else "\n\nUSER: " + text
        elif role == "assistant":
            out += "\n\nASSISTANT: " + text
    return out


def jinja(messages, folder=HERE / "model"):
    source = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return env.from_string(source).render(messages=messages)


class Codec:
    """Text to ids. User text never becomes a control token: each run between control tokens is encoded apart."""

    def __init__(self, folder=HERE / "model"):
        path = Path(folder) / "tokenizer.json"
        self.full = Tokenizer.from_file(str(path))
        layout = json.loads(path.read_text(encoding="utf-8"))
        layout["added_tokens"] = []
        self.plain = Tokenizer.from_str(json.dumps(layout))
        self.start, self.end = self.full.token_to_id("<|im_start|>"), self.full.token_to_id("<|im_end|>")
        self.pad = self.full.token_to_id("<|endoftext|>")
        self.tail = self.full.encode("<|im_end|>\n<|im_start|>assistant\n").ids
        self.piece = {}
        for s in labels.SEVERITIES:
            for c in labels.CATEGORIES + (labels.NONE,):
                for r in labels.REFUSALS:
                    for p in labels.pieces(s, c, r):
                        self.piece[p] = self.ids(p)
        self.severity = [self.piece[" " + s][0] for s in labels.SEVERITIES]
        self.category = {c: self.piece[" " + c][0] for c in labels.CATEGORIES + (labels.NONE,)}
        self.refusal = {r: self.piece[" " + r][0] for r in labels.REFUSALS}

    def ids(self, text):
        return self.plain.encode(text).ids

    def prompts(self, runs):
        return [[self.start] + e.ids + self.tail for e in self.plain.encode_batch(runs)]


def cut(text, cap):
    """Keeps head and tail of a text that would exceed about cap tokens."""
    wide = sum(ch >= "\u2e80" for ch in text[:200]) * 2 > min(len(text), 200)
    limit = int(cap * (1.1 if wide else 3.3))
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    return text[:head] + " … " + text[-(limit - head):]


def vary(text, rng):
    """Small changes that keep the meaning."""
    if rng.random() < 0.08:
        text = text.lower()
    elif rng.random() < 0.02:
        text = text.upper()
    if rng.random() < 0.08:
        text = text.rstrip(" .?!。？！")
    return text


class Sampler:
    """Draws (messages, severity, category, refusal) so that labels, sources and categories are balanced."""

    def __init__(self, rows, seed):
        self.rng = random.Random(seed)
        self.groups = defaultdict(list)
        for row in rows:
            self.groups[self.group(row)].append(row)
        self.weights = {g: self.balance(members) for g, members in self.groups.items()}
        self.refusals = defaultdict(list)
        for row in rows:
            if row.get("refusal") == "Yes" and row["severity"] == "Safe":
                self.refusals[row["lang"]].append(row["messages"][-1]["content"])

    @staticmethod
    def group(row):
        kind = "response" if len(row["messages"]) > 1 else "prompt"
        if row["source"] == "everyday":
            return kind, "everyday"
        label = row["severity"]
        if label == "Safe" and row.get("refusal") == "Yes":
            label = "Safe/Yes"
        return kind, label

    @staticmethod
    def primary(row):
        allowed = [c for c in row["categories"] if c in labels.CATEGORIES]
        return allowed[0] if allowed and row["severity"] != "Safe" else labels.NONE

    def balance(self, members):
        """Large sources count by the 0.65th power of their size, common categories by the 0.75th."""
        source = Counter(r["source"] for r in members)
        category = Counter(self.primary(r) for r in members)
        w = np.array([source[r["source"]] ** -0.35 * category[self.primary(r)] ** -0.25 for r in members])
        return np.cumsum(w)

    def pick(self, kind, label):
        g = (kind, label)
        i = int(np.searchsorted(self.weights[g], self.rng.random() * self.weights[g][-1]))
        return self.groups[g][min(i, len(self.groups[g]) - 1)]

    def choose(self, mix):
        return self.rng.choices(list(mix), list(mix.values()))[0]

    def draw(self):
        rng = self.rng
        if rng.random() >= RESPONSES:
            everyday = rng.random() < EVERYDAY
            row = self.pick("prompt", "everyday" if everyday else self.choose(PROMPT_MIX))
            return self.finish(row["messages"], row["severity"], self.primary(row), None)
        if rng.random() < REFUSED:
            asked = self.pick("prompt", rng.choice(("Unsafe", "Unsafe", "Controversial", "Safe")))
            pool = self.refusals[asked["lang"]] or self.refusals["en"]
            turns = asked["messages"] + [{"role": "assistant", "content": rng.choice(pool)}]
            return self.finish(turns, "Safe", labels.NONE, "Yes")
        everyday = rng.random() < 0.06
        row = self.pick("response", "everyday" if everyday else self.choose(RESPONSE_MIX))
        category = self.primary(row)
        return self.finish(row["messages"], row["severity"], category, row["refusal"])

    def finish(self, messages, severity, category, refusal):
        rng = self.rng
        cap = LONG_CAP if rng.random() < LONG else CAP
        share = cap if len(messages) == 1 else cap // 3
        out = [{"role": "user", "content": cut(vary(messages[0]["content"], rng), share)}]
        if len(messages) > 1:
            out.append({"role": "assistant", "content": cut(messages[1]["content"], cap - share)})
        if rng.random() < TURNS:
            if rng.random() < 0.5:
                before = self.pick("response", self.choose({"Safe": 0.8, "Safe/Yes": 0.2}))["messages"]
            else:
                asked = self.pick("prompt", "Unsafe")
                pool = self.refusals[asked["lang"]] or self.refusals["en"]
                before = asked["messages"] + [{"role": "assistant", "content": rng.choice(pool)}]
            out = [{"role": m["role"], "content": cut(m["content"], 80)} for m in before] + out
        if rng.random() < SYSTEM:
            out = [{"role": "system", "content": rng.choice(SYSTEMS)}] + out
        return out, severity, category, refusal


class Example:
    """ids with the answer; choices are (position, weight, kind); given are the other answer positions."""

    __slots__ = ("ids", "prompt", "choices", "given")

    def __init__(self, codec, prompt, severity, category, refusal):
        self.prompt = len(prompt)
        self.ids = list(prompt)
        self.choices, self.given = [], []
        kinds = ("severity", "category", "refusal")
        for i, piece in enumerate(labels.pieces(severity, category, refusal)):
            for j, t in enumerate(codec.piece[piece]):
                at = len(self.ids) - 1
                if i % 2 and j == 0:
                    self.choices.append((at, kinds[i // 2]))
                else:
                    self.given.append(at)
                self.ids.append(t)
        self.given.append(len(self.ids) - 1)
        self.ids.append(codec.end)


def packed(examples, rng, tokens, pool=64):
    """Endless batches of like length, about `tokens` ids each, of what examples(n) gives."""
    average = 75
    while True:
        drawn = sorted(examples(pool * tokens // average), key=lambda e: len(e.ids))
        out, batch = [], []
        for e in drawn:
            if batch and (len(batch) + 1) * len(e.ids) > tokens:
                out.append(batch)
                batch = []
            batch.append(e)
        out.append(batch)
        rng.shuffle(out)
        yield from out


def batches(sampler, codec, tokens):
    def examples(n):
        drawn = [sampler.draw() for _ in range(n)]
        prompts = codec.prompts([render(d[0]) for d in drawn])
        return [Example(codec, p, *d[1:]) for p, d in zip(prompts, drawn)]
    return packed(examples, sampler.rng, tokens)


def parse(text):
    """Strict reading of an answer: (severity, category, refusal or None), or None."""
    m = re.fullmatch(r"Safety: (\w+)\nCategories: ([^\n]+)(?:\nRefusal: (Yes|No))?", text)
    return m.groups() if m else None
