"""Writes demo/model/ from a training run: averaged weights, calibrated on the held-out rows, rounded to bf16.

    python demo/publish.py --data DIR --run DIR [--last] [--unsafe X --controversial Y]

The files have no bias tensors, so a shift of a severity's logit is made in its row of the (tied) embedding: hidden
states at the severity position share a large mean m, and adding d * m / |m|^2 to a row adds about d to its logit there.
"""

import argparse
from pathlib import Path

import torch

import anchors
import data
import labels
import model as m
from verdict import Judge

HERE = Path(__file__).resolve().parent
# Shares of held-out safe rows that may be called anything else: of all, and of ordinary requests and replies, which
# are those of every source but the comments and text fragments of these two.
LIMIT, ORDINARY_LIMIT, NOT_ORDINARY = 0.05, 0.02, ("cold", "rtp-lx")


def averaged(run, last):
    """State dict of the averaged weights."""
    if not last:
        return torch.load(run / "best.pt")
    state = torch.load(run / "last.pt")
    names = [n for n, _ in m.Qwen3(state["config"]).named_parameters()]
    return {"state": dict(zip(names, state["kept"])), "config": state["config"], "best": {"step": state["step"]}}


@torch.no_grad()
def shift(net, codec, rows, deltas):
    """Adds deltas[i] to the logit of severity i."""
    mean = torch.zeros(net.model.norm.weight.shape[0])
    for p in codec.prompts([data.render(r["messages"]) for r in rows]):
        mean += net(torch.tensor([p + codec.piece["Safety:"]]))[0, -1] / len(rows)
    for token, d in zip(codec.severity, deltas):
        net.model.embed_tokens.weight[token] += d * mean / mean.dot(mean)


def scores(pred, truth):
    out = []
    for positive in ((1, 2), (1,)):
        p = torch.isin(pred, torch.tensor(positive))
        t = torch.isin(truth, torch.tensor(positive))
        out.append(2 * (p & t).sum().item() / max(1, (p.sum() + t.sum()).item()))
    return out


def calibrate(judge, rows):
    """The pair of shifts with the best mean of strict and loose F1 that keeps safe rows safe."""
    logp = judge.severities([r["messages"] for r in rows]).log()
    truth = torch.tensor([labels.SEVERITIES.index(r["severity"]) for r in rows])
    safe = truth == 0
    ordinary = safe & torch.tensor([r["source"] not in NOT_ORDINARY for r in rows])
    best = None
    for u in torch.arange(-3, 1.01, 0.1).tolist():
        for c in torch.arange(-3, 1.01, 0.1).tolist():
            pred = (logp + torch.tensor([0.0, u, c])).argmax(-1)
            alarms = [(pred[some] != 0).float().mean().item() for some in (safe, ordinary)]
            f1 = sum(scores(pred, truth)) / 2
            if alarms[0] <= LIMIT and alarms[1] <= ORDINARY_LIMIT and (best is None or f1 > best[0]):
                best = (f1, u, c, alarms)
    plain = logp.argmax(-1)
    print("held out as trained: strict, loose F1", scores(plain, truth), "alarms",
          [(plain[some] != 0).float().mean().item() for some in (safe, ordinary)])
    print("chosen: F1 mean, unsafe, controversial, alarms", best)
    return best[1], best[2]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--out", type=Path, default=HERE / "model")
    p.add_argument("--last", action="store_true", help="the last step instead of the best one")
    p.add_argument("--unsafe", type=float)
    p.add_argument("--controversial", type=float)
    args = p.parse_args()
    torch.set_num_threads(2)
    state = averaged(args.run, args.last)
    net = m.Qwen3(state["config"])
    net.load_state_dict(state["state"])
    net.eval()
    codec = data.Codec()
    held = [r for r in data.read_rows(args.data) if data.held_out(r)]
    u, c = args.unsafe, args.controversial
    if u is None or c is None:
        u, c = calibrate(Judge(net, codec), held)
    shift(net, codec, held[::10], (0.0, u, c))
    m.publish(net, state["config"], args.out)

    net, _ = m.load(args.out)
    judge = Judge(net, codec)
    pred = judge.severities([r["messages"] for r in held]).argmax(-1)
    truth = torch.tensor([labels.SEVERITIES.index(r["severity"]) for r in held])
    print("step", state["best"], "published: strict, loose F1", scores(pred, truth), "alarms",
          (pred[truth == 0] != 0).float().mean().item())
    for sentence in anchors.broken(judge):
        print("BROKEN", sentence)


if __name__ == "__main__":
    main()
