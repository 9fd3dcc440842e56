"""Judges the evaluation sets with the published files and prints the tables of demo/README.md.

    python demo/evaluate.py --eval DIR [--model DIR]
    python demo/evaluate.py --eval DIR --model demo/model-stream [--data DIR] [--qguard BINARY]

With --qguard a Stream model's numbers come from the engine, in bfloat16, instead of from PyTorch.
A Stream model's reply counts as flagged when two tokens in a row are. For it the second table tells how early that is;
with --data also on held-out harmful replies behind the beginning of a safe one, where it is known where the harm begins.
"""

import argparse
import json
from pathlib import Path

import torch

import anchors
import data
import model as m
import stream
from verdict import CommandJudge, Judge, StreamJudge, first_flagged

HERE = Path(__file__).resolve().parent
SETS = ("openai-moderation", "simple-safety-tests", "xstest-prompts", "harmbench-prompts", "jailbreakbench-prompts",
        "cold-test", "xstest-responses", "jailbreakbench-responses")


def ratios(flagged, unsafe):
    tp, fp, fn = ((flagged & unsafe).sum(), (flagged & ~unsafe).sum(), (~flagged & unsafe).sum())
    p, r = tp / max(1, tp + fp), tp / max(1, tp + fn)
    f1 = 2 * tp / max(1, 2 * tp + fp + fn)
    fpr = fp / max(1, (~unsafe).sum())
    return [100 * float(v) for v in (f1, p, r, fpr)]


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(folder, flagged):
    """flagged(conversations) gives which are, strict and loose."""
    print("| set | rows (unsafe) | strict F1 | P | R | false alarms | loose F1 | P | R | false alarms |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in SETS:
        rows = read(folder / f"{name}.jsonl")
        unsafe = torch.tensor([r["label"] == "unsafe" for r in rows])
        strict, loose = (ratios(f, unsafe) for f in flagged([r["messages"] for r in rows]))
        cells = [f"{v:.1f}" for v in strict + loose]
        if bool(unsafe.all()):
            cells[3] = cells[7] = "–"
        print(f"| {name} | {len(rows)} ({int(unsafe.sum())}) | " + " | ".join(cells) + " |", flush=True)


def quartiles(values):
    v = sorted(values)
    return " / ".join(str(v[len(v) * k // 4]) for k in (1, 2, 3)) if v else "–"


def early(name, judge, rows, loose=False):
    """One line: how many of these unsafe replies are flagged after how many tokens; the empty line before is one."""
    risks = judge.risks([r["messages"] for r in rows])
    found = [(first_flagged(x, loose), len(x)) for x in risks]
    hit = [(at, n) for at, n in found if at >= 0]
    within = [f"{100 * sum(at < k for at, _ in hit) / len(rows):.0f}" for k in (16, 32, 64, 128)]
    print(f"| {name} | {len(rows)} | {quartiles([n for _, n in found])} | {100 * len(hit) / len(rows):.0f} | "
          + " | ".join(within) + f" | {quartiles([at for at, _ in hit])} | "
          f"{100 * sum(at / n for at, n in hit) / max(1, len(hit)):.0f} |", flush=True)


def spliced(judge, held):
    """Held-out harmful replies behind the beginning of a held-out safe one: flagged before, and how long after, the seam."""
    sampler = stream.Sampler(held, 1)
    rows = [r for r in held if len(r["messages"]) > 1 and r["severity"] != "Safe"]
    talks, begins = [], []
    for r in rows:
        user, reply = r["messages"]
        head = sampler.beginning(reply["content"])
        talks.append([user, {"role": "assistant", "content": head + reply["content"]}])
        ends = judge.frames.encode(talks[-1])[3]
        begins.append(sum(end <= len(head) for end in ends))
    at = [first_flagged(x, False) for x in judge.risks(talks)]
    after = [a - b for a, b in zip(at, begins) if a >= b]
    before = sum(0 <= a < b for a, b in zip(at, begins))
    print(f"{len(rows)} held-out harmful replies behind {quartiles(begins)} safe tokens (quartiles): {before} flagged too early, "
          f"{len(after)} behind the seam, {quartiles(after)} tokens after it; within 16 {sum(a < 16 for a in after)}, "
          f"within 32 {sum(a < 32 for a in after)}, within 64 {sum(a < 64 for a in after)}; {at.count(-1)} never")


def stream_tables(judge, folder, data_folder):
    table(folder, judge.flagged)
    print("\n| unsafe replies of | rows | tokens, quartiles | flagged % | within 16 | 32 | 64 | 128 | first flagged at, quartiles "
          "| mean share of the reply % |\n|---|---|---|---|---|---|---|---|---|---|")
    for name in SETS[6:]:
        rows = [r for r in read(folder / f"{name}.jsonl") if r["label"] == "unsafe"]
        early(f"{name}, strict", judge, rows)
        early(f"{name}, loose", judge, rows, loose=True)
    if data_folder:
        held = [r for r in data.read_rows(data_folder) if data.held_out(r)]
        harmful = [r for r in held if len(r["messages"]) > 1 and r["severity"] != "Safe"]
        early("held-out rows, strict", judge, harmful)
        spliced(judge, held)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--eval", type=Path, required=True)
    p.add_argument("--model", type=Path, default=HERE / "model")
    p.add_argument("--data", type=Path)
    p.add_argument("--qguard", type=Path)
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    net, _ = m.load(args.model)
    codec = data.Codec(args.model)
    if isinstance(net, m.Guard):
        judge = CommandJudge(args.qguard, args.model, codec) if args.qguard else StreamJudge(net, codec)
        stream_tables(judge, args.eval, args.data)
        for sentence in anchors.broken_stream(judge):
            print("BROKEN", sentence)
        return
    judge = Judge(net, codec)

    def flagged(conversations):
        top = judge.severities(conversations).argmax(-1)
        return top > 0, top == 1
    table(args.eval, flagged)
    for sentence in anchors.broken(judge):
        print("BROKEN", sentence)


if __name__ == "__main__":
    main()
