"""Verdicts by forced continuation, in batches: the reference for what the engine does with these files."""

import torch

import data
import labels


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
