"""Verdicts by forced continuation, in batches: the reference for what the engine does with these files."""

import json
import subprocess

import torch

import data
import labels
import stream


class Judge:
    def __init__(self, net, codec, tokens=16384):
        self.net, self.codec, self.tokens = net, codec, tokens

    @torch.no_grad()
    def last(self, sequences, ids):
        """Logits of the given token ids after the last position of every sequence."""
        out = torch.zeros(len(sequences), len(ids))
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        weight = self.net.model.embed_tokens.weight[ids]
        while order:
            n = max(1, self.tokens // len(sequences[order[-1]]))
            take, order = order[-n:], order[:-n]
            batch = torch.full((len(take), len(sequences[take[-1]])), self.codec.pad)
            for j, i in enumerate(take):
                batch[j, : len(sequences[i])] = torch.tensor(sequences[i])
            h = self.net(batch)[torch.arange(len(take)), [len(sequences[i]) - 1 for i in take]]
            out[take] = (h @ weight.T).float()
        return out

    def severities(self, conversations):
        """[n, 3] probabilities in the order of labels.SEVERITIES."""
        forced = [p + self.codec.piece["Safety:"] for p in self.prompts(conversations)]
        return self.last(forced, self.codec.severity).softmax(-1)

    def prompts(self, conversations):
        return self.codec.prompts([data.render(c) for c in conversations])

    def verdicts(self, conversations):
        """(severity, category, refusal or None) of every conversation, and the [n, 3] severities."""
        piece = self.codec.piece
        probs = self.severities(conversations)
        severity = [labels.SEVERITIES[i] for i in probs.argmax(-1).tolist()]
        forced = [p + piece["Safety:"] + piece[" " + s] + piece["\nCategories:"]
                  for p, s in zip(self.prompts(conversations), severity)]
        names = labels.CATEGORIES + (labels.NONE,)
        scores = self.last(forced, [self.codec.category[n] for n in names])
        reply = [c[-1]["role"] != "user" for c in conversations]
        scores[torch.tensor(reply), names.index("Jailbreak")] = -torch.inf
        category = [names[i] for i in scores.argmax(-1).tolist()]
        refusal = [None] * len(conversations)
        at = [i for i, r in enumerate(reply) if r]
        if at:
            forced = [forced[i] + piece[" " + category[i]] + piece["\nRefusal:"] for i in at]
            yes_no = self.last(forced, [self.codec.refusal[r] for r in labels.REFUSALS]).argmax(-1).tolist()
            for i, k in zip(at, yes_no):
                refusal[i] = labels.REFUSALS[k]
        return list(zip(severity, category, refusal)), probs


def f1(found, truth):
    return 2 * (found & truth).sum().item() / max(1, (found.sum() + truth.sum()).item())


def flags(risk, row, n):
    """Which of n rows are flagged, strict and loose. risk [tokens, 3]; row [tokens] is the row of each, in order.

    Strict: two tokens in a row that are not Safe; loose: two that are Unsafe. A row of one token, a prompt's, needs one."""
    first = torch.ones(len(row), dtype=torch.bool)
    first[1:] = row[1:] != row[:-1]
    alone = torch.bincount(row, minlength=n)[row] == 1
    top = risk.argmax(-1)
    out = []
    for hit in (top > 0, top == 1):
        before = torch.cat((hit.new_zeros(1), hit[:-1])) & ~first
        out.append(torch.bincount(row[hit & (before | alone)], minlength=n) > 0)
    return out


def first_flagged(risk, loose):
    """Index of the first flagged token by the rule of flags; -1 when none is."""
    top = risk.argmax(-1)
    hit = top == 1 if loose else top > 0
    if len(hit) > 1:
        hit = torch.cat((hit.new_zeros(1), hit[1:] & hit[:-1]))
    at = hit.nonzero()
    return at[0].item() if len(at) else -1


class StreamJudge:
    """What the Stream model says of conversations: one token of a prompt, every token of a reply."""

    def __init__(self, net, codec, tokens=16384):
        self.net, self.codec, self.tokens = net, codec, tokens
        self.frames = stream.Frames(codec)

    @torch.no_grad()
    def inner(self, conversations):
        """Per conversation [n, inner], what its heads read: the query's at the user's end token, or the reply's."""
        coded = [self.frames.encode(c) for c in conversations]
        out = [None] * len(coded)
        order = sorted(range(len(coded)), key=lambda i: len(coded[i][0]))
        while order:
            n = max(1, self.tokens // len(coded[order[-1]][0]))
            take, order = order[-n:], order[:-n]
            batch = torch.full((len(take), len(coded[take[-1]][0])), self.codec.pad)
            for j, i in enumerate(take):
                batch[j, : len(coded[i][0])] = torch.tensor(coded[i][0])
            for i, reply, query in zip(take, *self.net.inner(self.net(batch))):
                _, asked, first, ends = coded[i]
                out[i] = query[asked:asked + 1] if first is None else reply[first:first + len(ends) + 1]
                out[i] = out[i].clone()
        return out

    @torch.no_grad()
    def risks(self, conversations):
        """Per conversation the risk logits [n, 3]."""
        heads = (self.net.query_risk_level_head, self.net.risk_level_head)
        return [heads[c[-1]["role"] == "assistant"](x) for c, x in zip(conversations, self.inner(conversations))]

    def flagged(self, conversations):
        """Which are flagged, strict and loose."""
        found = self.risks(conversations)
        row = torch.tensor([i for i, x in enumerate(found) for _ in x])
        return flags(torch.cat(found), row, len(found))


class CommandJudge(StreamJudge):
    """The same numbers from `qguard logits`: the engine's own arithmetic, and much faster."""

    def __init__(self, binary, model, codec, rows=500):
        super().__init__(None, codec)
        self.command, self.rows = [str(binary), "logits", "--jsonl", "--model", str(model)], rows

    def risks(self, conversations):
        out = []
        for at in range(0, len(conversations), self.rows):
            coded = [self.frames.encode(c) for c in conversations[at:at + self.rows]]
            rows = [{"ids": ids, "positions": [asked] if first is None else list(range(first, first + len(ends) + 1))}
                    for ids, asked, first, ends in coded]
            done = subprocess.run(self.command, input="".join(json.dumps(r) + "\n" for r in rows),
                                  capture_output=True, text=True, check=True)
            for line, (_, _, first, _) in zip(done.stdout.splitlines(), coded, strict=True):
                name = "query_risk" if first is None else "risk"
                out.append(torch.tensor([h[name] for h in json.loads(line)["heads"]]))
        return out
