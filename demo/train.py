"""Trains the demonstration Gen model on the CPU.

    python demo/train.py --data DIR --run DIR [--steps N] [--resume]

DIR of --data holds prompts.jsonl.gz and responses.jsonl.gz; --run keeps checkpoints and the log. The published files
are written by demo/publish.py. The learning rate is warmed up, held, and let down over the last share of the
steps, so --steps may be lowered with --resume when the machine turns out slower than thought.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import data
import labels
import model as m

HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 256, 512, 4, 4, 2, 64
SEED = 20251
PEAK, FLOOR, WARMUP, DECAY = 1.5e-3, 3e-5, 200, 0.4
WEIGHT_DECAY, DROPOUT, AVERAGE = 0.08, 0.12, 0.998
WEIGHTS = {"severity": 1.0, "category": 0.5, "refusal": 0.4, "given": 0.05, "text": 0.10}
SMOOTH = 0.04            # of the severity, spread over the other two
GIVEN_SHARE, TEXT_SHARE = 0.3, 0.12
MASKED = 0.05            # ids of the text replaced by random ones, in half of the examples
BATCH = 8192
SAVE_EVERY, JUDGE_EVERY = 150.0, 400


def rate(step, steps):
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    left = (steps - step) / (DECAY * steps)
    return PEAK if left >= 1 else FLOOR + (PEAK - FLOOR) * max(left, 0.0)


def text_weight(step, steps):
    """Next-token prediction of the text helps early; it ends when the learning rate goes down."""
    return WEIGHTS["text"] * max(0.0, 1.0 - step / ((1 - DECAY) * steps))


def tensors(batch, codec, gen, text):
    """ids [b, n]; positions to be learnt as rows, columns, weights; whether each is a severity."""
    n = max(len(e.ids) for e in batch)
    ids = torch.full((len(batch), n), codec.pad)
    rows, cols, weights, severity = [], [], [], []
    draw = torch.rand(len(batch), n, generator=gen)
    for i, e in enumerate(batch):
        ids[i, : len(e.ids)] = torch.tensor(e.ids)
        for at, kind in e.choices:
            rows.append(i), cols.append(at), weights.append(WEIGHTS[kind]), severity.append(kind == "severity")
        for at in e.given:
            if draw[i, at] < GIVEN_SHARE:
                rows.append(i), cols.append(at), weights.append(WEIGHTS["given"]), severity.append(False)
        if text > 0:
            for at in (draw[i, 5 : e.prompt - 6] < TEXT_SHARE).nonzero().flatten().tolist():
                rows.append(i), cols.append(at + 5), weights.append(text), severity.append(False)
    targets = ids[rows, [c + 1 for c in cols]]
    for i, e in enumerate(batch):
        if float(torch.rand(1, generator=gen)) < 0.5:
            span = slice(7, e.prompt - 5)
            hit = torch.rand(n, generator=gen)[span] < MASKED
            noise = torch.randint(0, codec.end - 4, (n,), generator=gen)[span]
            ids[i, span] = torch.where(hit, noise, ids[i, span])
    return ids, torch.tensor(rows), torch.tensor(cols), targets, torch.tensor(weights), torch.tensor(severity)


def loss_of(net, codec, batch, gen, text):
    ids, rows, cols, targets, weights, severity = tensors(batch, codec, gen, text)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net.logits(net(ids)[rows, cols])
    logp = F.log_softmax(logits.float(), -1)
    hit = logp.gather(1, targets[:, None])[:, 0]
    others = logp[:, codec.severity].sum(-1) - hit
    each = torch.where(severity, (1 - SMOOTH) * hit + SMOOTH / 2 * others, hit)
    return -(each * weights).sum() / len(batch), -hit[severity].mean()


@torch.no_grad()
def judge(net, codec, rows, tokens=16384):
    """Forced severity of held-out rows: macro F1 over {prompt, response} x {strict, loose}, and the cross-entropy."""
    runs = codec.prompts([data.render(r["messages"]) for r in rows])
    order = sorted(range(len(rows)), key=lambda i: len(runs[i]))
    probs = torch.zeros(len(rows), 3)
    net.eval()
    while order:
        n = max(1, tokens // (len(runs[order[-1]]) + 2))
        take, order = order[-n:], order[:-n]
        forced = [runs[i] + codec.piece["Safety:"] for i in take]
        ids = torch.full((len(take), max(map(len, forced))), codec.pad)
        for j, f in enumerate(forced):
            ids[j, : len(f)] = torch.tensor(f)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net.logits(net(ids)[torch.arange(len(take)), [len(f) - 1 for f in forced]])
        probs[take] = logits.float()[:, codec.severity].softmax(-1)
    net.train()
    truth = torch.tensor([labels.SEVERITIES.index(r["severity"]) for r in rows])
    out = {"ce": -probs.gather(1, truth[:, None]).log().mean().item(), "acc": (probs.argmax(-1) == truth).float().mean().item()}
    for kind in (1, 2):
        pick = torch.tensor([len(r["messages"]) == kind for r in rows])
        for name, t, p in (("strict", truth > 0, probs.argmax(-1) > 0), ("loose", truth == 1, probs.argmax(-1) == 1)):
            tp = (t & p & pick).sum().item()
            out[f"{'prompt' if kind == 1 else 'response'}_{name}"] = 2 * tp / max(1, ((t & pick).sum() + (p & pick).sum()).item())
    return out


@torch.no_grad()
def mix(into, tensors, share):
    """into = share * into + (1 - share) * tensors."""
    for a, b in zip(into, tensors):
        a.lerp_(b, 1 - share)


def optimizer(net):
    groups = [{"params": [p for p in net.parameters() if p.dim() > 1], "weight_decay": WEIGHT_DECAY},
              {"params": [p for p in net.parameters() if p.dim() == 1], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, PEAK, betas=(0.9, 0.98), fused=True)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--steps", type=int, default=1980)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--resume", action="store_true")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    args.run.mkdir(parents=True, exist_ok=True)

    codec = data.Codec()
    rows = data.read_rows(args.data)
    for row in rows[:: len(rows) // 300]:
        want = "<|im_start|>" + data.render(row["messages"]) + "<|im_end|>\n<|im_start|>assistant\n"
        assert data.jinja(row["messages"]) == want
    held = [r for r in rows if data.held_out(r)]
    rows = [r for r in rows if not data.held_out(r)] + data.read_everyday()
    held = held[::2]
    c = m.config(codec.full.get_vocab_size(), HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, HEAD_DIM)
    net = m.Qwen3(c, DROPOUT).train()
    opt = optimizer(net)
    kept = [q.detach().clone() for q in net.parameters()]
    start, spent, best = 0, 0.0, None
    last = args.run / "last.pt"
    if args.resume:
        state = torch.load(last)
        net.load_state_dict(state["net"]), opt.load_state_dict(state["opt"])
        kept, start, spent, best = state["kept"], state["step"], state["spent"], state["best"]
    print(f"{len(rows)} rows to learn, {len(held)} held out, {sum(q.numel() for q in net.parameters())} parameters", flush=True)

    # A resumed run goes on with fresh draws: the seed is moved by the step.
    gen = torch.Generator().manual_seed(SEED + start)
    torch.manual_seed(SEED + start)
    source = data.batches(data.Sampler(rows, SEED + start), codec, BATCH)

    def keep(path, step):
        torch.save({"net": net.state_dict(), "opt": opt.state_dict(), "kept": kept, "step": step, "spent": spent,
                    "best": best, "config": c}, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    clock, saved, shown, tokens = time.time(), time.time(), time.time(), 0
    for step in range(start, args.steps):
        batch = next(source)
        for g in opt.param_groups:
            g["lr"] = rate(step, args.steps)
        loss, ce = loss_of(net, codec, batch, gen, text_weight(step, args.steps))
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        mix(kept, net.parameters(), min(AVERAGE, (step + 1) / (step + 10)))
        tokens += sum(len(e.ids) for e in batch)
        if (step + 1) % 25 == 0:
            now = time.time()
            print(f"step {step + 1} loss {loss.item():.3f} severity {ce.item():.3f} "
                  f"lr {rate(step, args.steps):.2e} tok/s {tokens / (now - shown):.0f} "
                  f"minutes {(spent + now - clock) / 60:.1f}", flush=True)
            shown, tokens = now, 0
        if (step + 1) % JUDGE_EVERY == 0 or step + 1 == args.steps:
            own = [q.detach().clone() for q in net.parameters()]
            mix(net.parameters(), kept, 0.0)
            found = judge(net, codec, held)
            print("held out", json.dumps({k: round(v, 4) for k, v in found.items()}), flush=True)
            if best is None or found["ce"] < best["ce"]:
                best = {**found, "step": step + 1}
                torch.save({"state": {k: v.clone() for k, v in net.state_dict().items()}, "config": c, "best": best},
                           args.run / "best.pt")
            mix(net.parameters(), own, 0.0)
            shown = time.time()
        if time.time() - saved > SAVE_EVERY or step + 1 == args.steps:
            spent, clock, saved = spent + time.time() - clock, time.time(), time.time()
            keep(last, step + 1)


if __name__ == "__main__":
    main()
