"""Writes demo/model-stream/ from a run of train_stream.py: calibrated on the held-out rows, rounded to bf16.

    python demo/publish_stream.py --data DIR --run DIR

The heads have no bias. A shift d of a risk's logit is made by adding d * v to its row, where v is the direction whose
product with the heads' inputs is nearest to 1 in the mean square, over the held-out rows.
"""

import argparse
from pathlib import Path

import torch

import anchors
import data
import labels
import model as m
from publish import LIMIT, NOT_ORDINARY, ORDINARY_LIMIT
from verdict import StreamJudge, f1, flags

HERE = Path(__file__).resolve().parent
GRID = torch.arange(-4, 1.01, 0.25).tolist()


def constant(x):
    """v with x v nearest to 1, and how far from it (root mean square)."""
    x = x.double()
    v = torch.linalg.solve(x.T @ x / len(x) + 1e-4 * torch.eye(x.shape[1]), x.mean(0))
    return v.float(), (x @ v - 1).pow(2).mean().sqrt().item()


def measured(strict, loose, truth, ordinary):
    safe = truth == 0
    return {"strict": f1(strict, truth > 0), "loose": f1(loose, truth == 1),
            "alarms": strict[safe].float().mean().item(),
            "ordinary": strict[safe & ordinary].float().mean().item()}


def calibrate(risk, row, truth, ordinary):
    """The shifts of Unsafe and Controversial with the best mean of strict and loose F1 that keep safe rows safe."""
    best = None
    for u in GRID:
        for c in GRID:
            found = measured(*flags(risk + torch.tensor([0.0, u, c]), row, len(truth)), truth, ordinary)
            good = found["strict"] + found["loose"]
            if found["alarms"] <= LIMIT and found["ordinary"] <= ORDINARY_LIMIT and (best is None or good > best[0]):
                best = good, u, c, found
    return best


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    state = torch.load(args.run / "stream.pt")
    net = m.Guard(state["config"])
    net.load_state_dict(state["state"])
    net.eval()
    judge = StreamJudge(net, data.Codec())
    held = [r for r in data.read_rows(args.data) if data.held_out(r)]
    for kind, head in ((1, net.query_risk_level_head), (2, net.risk_level_head)):
        rows = [r for r in held if len(r["messages"]) == kind]
        truth = torch.tensor([labels.SEVERITIES.index(r["severity"]) for r in rows])
        ordinary = torch.tensor([r["source"] not in NOT_ORDINARY for r in rows])
        inner = judge.inner([r["messages"] for r in rows])
        row = torch.tensor([i for i, x in enumerate(inner) for _ in x])
        inner = torch.cat(inner)
        with torch.no_grad():
            risk = head(inner)
            print("as trained", measured(*flags(risk, row, len(rows)), truth, ordinary))
            _, u, c, found = calibrate(risk, row, truth, ordinary)
            v, error = constant(inner)
            print(f"shifts {u:.1f} {c:.1f}, by a direction that is 1 within {error:.3f}", found)
            head.weight += torch.tensor([0.0, u, c])[:, None] * v
            head.weight.copy_(head.weight.bfloat16().float())
            print("published", measured(*flags(head(inner), row, len(rows)), truth, ordinary), flush=True)
    m.publish(net, state["config"], HERE / "model-stream", HERE / "model")
    for sentence in anchors.broken_stream(judge):
        print("BROKEN", sentence)
    print("step", state["step"])


if __name__ == "__main__":
    main()
