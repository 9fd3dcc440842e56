"""Trains the demonstration Stream model from the Gen model's backbone, on the CPU.

    python demo/train_stream.py --data DIR --run DIR [--minutes N] [--most N]

The embedding is the Gen model's and stays as it is, so that both share it; the layers are tuned and the heads
learnt. The run ends after --minutes of processor time, or --most of the clock; the learning rate falls to zero towards
whichever is nearer. The published files are written by demo/publish_stream.py.
"""

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import data
import labels
import model as m
import stream
from train import MASKED, SMOOTH, mix
from verdict import StreamJudge, f1

SEED = 20252
PEAK, HEAD_PEAK, WARMUP = 6e-4, 2e-3, 40
WEIGHT_DECAY, DROPOUT, AVERAGE = 0.05, 0.1, 0.99
CATEGORY = 0.5
BATCH = 4096
SAVE_EVERY, JUDGE_EVERY = 60.0, 300
HERE = Path(__file__).resolve().parent


def tensors(batch, codec, gen):
    n = max(len(e.ids) for e in batch)
    ids = torch.full((len(batch), n), codec.pad)
    risk, category = torch.full((2, len(batch), n), stream.NONE)
    weight = torch.zeros(len(batch), n)
    for i, e in enumerate(batch):
        size = len(e.ids)
        ids[i, :size] = torch.tensor(e.ids)
        risk[i, :size], category[i, :size] = torch.from_numpy(e.risk), torch.from_numpy(e.category)
        weight[i, :size] = torch.from_numpy(e.weight)
    noisy = torch.rand(len(batch), 1, generator=gen) < 0.5
    hit = noisy & (torch.rand(ids.shape, generator=gen) < MASKED) & (ids < codec.pad)
    ids = torch.where(hit, torch.randint(0, codec.pad, ids.shape, generator=gen), ids)
    return ids, risk, category, weight


def cross_entropy(logits, target, weight, smooth):
    """Weighted sum over the positions that have a target."""
    some = target != stream.NONE
    each = F.cross_entropy(logits.float()[some], target[some], label_smoothing=smooth, reduction="none")
    return (each * weight[some]).sum()


def loss_of(net, codec, batch, gen):
    ids, risk, category, weight = tensors(batch, codec, gen)
    asked = torch.tensor([e.query for e in batch])[:, None].expand(ids.shape)
    total = 0.0
    with torch.autocast("cpu", torch.bfloat16):
        h = net(ids)
        for heads, pick in ((net.query, asked), (net.response, ~asked)):
            at = pick & (weight > 0)
            if at.any():
                levels, names = heads(h[at])
                total = total + cross_entropy(levels, risk[at], weight[at], SMOOTH * 1.5)
                total = total + CATEGORY * cross_entropy(names, category[at], weight[at], 0.0)
    return total / len(batch)


def optimizer(net):
    def group(rate, pick):
        named = [(n, p) for n, p in net.named_parameters() if p.requires_grad and n.startswith("model.") == pick]
        return [{"params": [p for _, p in named if p.dim() > 1], "peak": rate, "weight_decay": WEIGHT_DECAY},
                {"params": [p for _, p in named if p.dim() == 1], "peak": rate, "weight_decay": 0.0}]
    return torch.optim.AdamW(group(PEAK, True) + group(HEAD_PEAK, False), PEAK, betas=(0.9, 0.98))


def start():
    """The Gen model's backbone with new heads."""
    gen, c = m.load(HERE / "model")
    net = m.Guard(m.guard_config(c), DROPOUT)
    net.model.load_state_dict(gen.model.state_dict())
    net.model.embed_tokens.weight.requires_grad_(False)
    return net.train()


def judge(net, codec, held):
    """F1 and false alarms on held-out rows, prompts and replies apart."""
    net.eval()
    strict, loose = StreamJudge(net, codec).flagged([r["messages"] for r in held])
    net.train()
    truth = torch.tensor([labels.SEVERITIES.index(r["severity"]) for r in held])
    reply = torch.tensor([len(r["messages"]) > 1 for r in held])
    return {name: (round(f1(strict[some], truth[some] > 0), 3), round(f1(loose[some], truth[some] == 1), 3),
                   round(strict[some & (truth == 0)].float().mean().item(), 3))
            for name, some in (("prompts", ~reply), ("replies", reply))}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=22)
    p.add_argument("--most", type=float, default=60)
    args = p.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    args.run.mkdir(parents=True, exist_ok=True)
    codec = data.Codec()
    rows = data.read_rows(args.data)
    held = [r for r in rows if data.held_out(r)][::4]
    rows = [r for r in rows if not data.held_out(r)] + data.read_everyday()
    net = start()
    opt = optimizer(net)
    learnt = [q for q in net.parameters() if q.requires_grad]
    kept = [q.detach().clone() for q in learnt]
    gen = torch.Generator().manual_seed(SEED)
    source = stream.batches(stream.Sampler(rows, SEED), stream.Frames(codec), BATCH)

    def averaged(work):
        own = [q.detach().clone() for q in learnt]
        mix(learnt, kept, 0.0)
        work()
        mix(learnt, own, 0.0)

    def keep():
        path = args.run / "stream.tmp"
        torch.save({"state": net.state_dict(), "config": m.guard_config(m.load(HERE / "model")[1]), "step": step}, path)
        path.replace(args.run / "stream.pt")

    begun, cpu, saved, done, step, tokens, total = time.time(), time.process_time(), time.time(), 0.0, 0, 0, 0.0
    while done < 1:
        batch = next(source)
        done = max((time.process_time() - cpu) / args.minutes, (time.time() - begun) / args.most) / 60
        for g in opt.param_groups:
            g["lr"] = g["peak"] * min(1.0, (step + 1) / WARMUP) * max(0.01, 1 - done)
        loss = loss_of(net, codec, batch, gen)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        opt.step()
        step += 1
        mix(kept, learnt, min(AVERAGE, step / (step + 10)))
        tokens, total = tokens + sum(len(e.ids) for e in batch), total + loss.item()
        if step % 25 == 0:
            print(f"step {step} loss {total / 25:.3f} done {done:.3f} cpu {(time.process_time() - cpu) / 60:.1f} "
                  f"clock {(time.time() - begun) / 60:.1f} tokens {tokens}", flush=True)
            total = 0.0
        if step % JUDGE_EVERY == 0 or done >= 1:
            averaged(lambda: print("held out (strict F1, loose F1, false alarms)", judge(net, codec, held), flush=True))
        if time.time() - saved > SAVE_EVERY or done >= 1:
            averaged(keep)
            saved = time.time()


if __name__ == "__main__":
    main()
