"""Conversations as the Stream model reads them: frames, the label of every token, sampling and batches.

The frames are those of Qwen3 (model-stream/chat_template.jinja), with an empty think block in every assistant's turn, so that
a conversation judged as it grows and one rendered whole are the same ids. Where the label of a reply applies:

- A safe reply is Safe at every token.
- Of a harmful reply the rows do not say where the harm begins. Its label counts little at first and fully after a third of
  the reply, at most after 48 tokens: the weight of a token rises with its index. What is said before the harm looks
  like the beginnings of safe replies, which are labelled Safe with full weight, and so stays Safe.
- In a tenth of the replies the beginning of a safe one is put in front. There the begin is known: Safe before it, and
  from it on the label, its weight rising over 8 tokens. The same is done to safe replies, or the seam would give harm away.
- The tokens of the frame between the two turns are Safe, with little weight.

A prompt has one label, at the token that ends the user's turn.
"""

import numpy as np

import data
import labels

SPLICED, BARE = 0.10, 0.15     # replies with a safe beginning in front; replies without the empty think block
RAMP_SHARE, RAMP_MOST, RAMP_KNOWN = 3, 48, 8
FRAME_WEIGHT = 0.1
NONE = -1


class Frames:
    """ids of conversations. User text never becomes a control token: each run between control tokens is encoded apart."""

    def __init__(self, codec):
        self.codec = codec
        self.newline = codec.ids("\n")
        think, done = (codec.full.token_to_id(t) for t in labels.THINK_TOKENS)
        self.think = [think, *codec.ids("\n\n"), done]

    def turn(self, role, text, think=False):
        """ids of a turn; how many of them stand before the text, and how far into the text each of the next ones reaches."""
        c = self.codec
        head, lead = ([c.start, *c.ids("assistant\n"), *self.think], "\n\n") if think else ([c.start], role + "\n")
        run = c.plain.encode(lead + text)
        skip = 0 if think else len(c.ids(lead))
        ends = [end - len(lead) for _, end in run.offsets[skip:]]
        return head + run.ids + [c.end] + self.newline, len(head) + skip, ends

    def encode(self, messages, bare=False):
        """ids; index of the last user turn's end token; of the reply, if any, the index of its first token (the empty
        line behind the think block is one) and how far into it each token reaches. Its end token follows."""
        ids, asked, first, ends = [], 0, None, []
        for i, m in enumerate(messages):
            reply = m["role"] == "assistant"
            turn, at, reach = self.turn(m["role"], m["content"], think=reply and not bare)
            if reply and i == len(messages) - 1:
                first, ends = len(ids) + at, reach
            ids += turn
            if m["role"] == "user":
                asked = len(ids) - 1 - len(self.newline)
        return ids, asked, first, ends


class Example:
    """ids; per token the risk and category to be learnt (-1: none) and the weight, which sums to about 1 over the row."""

    __slots__ = ("ids", "risk", "category", "weight", "query")

    def __init__(self, frames, messages, severity, category, bare=False, begin=None):
        self.ids, asked, first, ends = frames.encode(messages, bare)
        n = len(self.ids)
        self.risk, self.category = np.full(n, NONE), np.full(n, NONE)
        self.weight = np.zeros(n, dtype=np.float32)
        level = labels.SEVERITIES.index(severity)
        name = NONE if category == labels.NONE else labels.STREAM_CATEGORIES.index(category)
        self.query = first is None
        if self.query:
            self.risk[asked], self.category[asked], self.weight[asked] = level, name, 1.0
            return
        if begin is not None:
            begin = sum(end <= begin for end in ends)
        self.label(first, first + len(ends) + 1, level, name, begin)
        frame = slice(asked + 1, first)
        self.risk[frame], self.weight[frame] = 0, FRAME_WEIGHT / (first - asked - 1)

    def label(self, first, last, level, name, begin):
        n = last - first
        weight, risk = np.ones(n), np.full(n, level)
        if level:
            known = begin is not None
            at = min(begin, n - 1) if known else 0
            ramp = RAMP_KNOWN if known else min(RAMP_MOST, max(2, n // RAMP_SHARE))
            weight[at:] = np.minimum(1.0, (np.arange(n - at) + 1) / ramp)
            risk[:at] = 0
            self.category[first + at:last] = name
        self.risk[first:last], self.weight[first:last] = risk, weight / weight.sum()


def chinese(text):
    return any("\u4e00" <= ch <= "\u9fff" for ch in text[:40])


class Sampler(data.Sampler):
    """Also puts safe beginnings before replies; begin is the character where the row's own reply begins."""

    def draw(self):
        messages, severity, category, refusal = super().draw()
        begin = None
        if messages[-1]["role"] == "assistant" and refusal == "No" and self.rng.random() < SPLICED:
            head = self.beginning(messages[-1]["content"])
            begin = len(head)
            messages[-1] = {"role": "assistant", "content": head + messages[-1]["content"]}
        return messages, severity, category, self.rng.random() < BARE, begin

    def beginning(self, text):
        """The first sentences of a safe reply in the same script."""
        wide = chinese(text)
        for _ in range(8):
            found = self.pick("response", "Safe")["messages"][-1]["content"]
            if chinese(found) == wide:
                break
        most = self.rng.randint(20, 60) if wide else self.rng.randint(60, 240)
        if len(found) > most:
            cuts = [found.rfind(stop, 0, most) + 1 for stop in "\n.!?。！？"]
            found = found[: max(cuts) or most]
        return found.rstrip() + self.rng.choice((" ", "\n", "\n\n"))


def batches(sampler, frames, tokens):
    def examples(n):
        return [Example(frames, *sampler.draw()) for _ in range(n)]
    return data.packed(examples, sampler.rng, tokens)
