"""Judges the evaluation sets with the published files and prints the table of demo/README.md.

    python demo/evaluate.py --eval DIR [--model DIR]
"""

import argparse
import json
from pathlib import Path

import torch

import anchors
import data
import model as m
from verdict import Judge

HERE = Path(__file__).resolve().parent
SETS = ("openai-moderation", "simple-safety-tests", "xstest-prompts", "harmbench-prompts", "jailbreakbench-prompts",
        "cold-test", "xstest-responses", "jailbreakbench-responses")


def ratios(flagged, unsafe):
    tp, fp, fn = ((flagged & unsafe).sum(), (flagged & ~unsafe).sum(), (~flagged & unsafe).sum())
    p, r = tp / max(1, tp + fp), tp / max(1, tp + fn)
    f1 = 2 * tp / max(1, 2 * tp + fp + fn)
    fpr = fp / max(1, (~unsafe).sum())
    return [100 * float(v) for v in (f1, p, r, fpr)]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--eval", type=Path, required=True)
    p.add_argument("--model", type=Path, default=HERE / "model")
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    net, _ = m.load(args.model)
    judge = Judge(net, data.Codec(args.model))
    print("| set | rows (unsafe) | strict F1 | P | R | false alarms | loose F1 | P | R | false alarms |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in SETS:
        rows = [json.loads(line) for line in (args.eval / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        pred = judge.severities([r["messages"] for r in rows]).argmax(-1)
        unsafe = torch.tensor([r["label"] == "unsafe" for r in rows])
        strict, loose = ratios(pred > 0, unsafe), ratios(pred == 1, unsafe)
        cells = [f"{v:.1f}" for v in strict + loose]
        if bool(unsafe.all()):
            cells[3] = cells[7] = "–"
        print(f"| {name} | {len(rows)} ({int(unsafe.sum())}) | " + " | ".join(cells) + " |", flush=True)
    for sentence in anchors.broken(judge):
        print("BROKEN", sentence)


if __name__ == "__main__":
    main()
