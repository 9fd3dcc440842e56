#!/usr/bin/env python3
"""Table and plots from the CSV files of bench/compare.py.

    bench/report.py FILE.csv...                  the table, Markdown
    bench/report.py --plots DIR --into PAGE.md FILE.csv...
                                                 also one SVG for each workload; the table goes
                                                 between the page's <!-- table --> marks

Of rows that came more than once (rounds, files) the best counts, on every side: what disturbs a
machine only ever slows. Standard library only.
"""
import argparse
import collections
import html
import pathlib

BITS = {"float32": 32, "bfloat16": 16, "bf16": 16, "fp16": 16, "int8": 8, "q8_0": 8,
        "int4": 4, "q4_0": 4, "q4_k_m": 4, "-": 0}
NAMES = {"openvino-genai": "OpenVINO", "llama.cpp": "llama.cpp", "hf-transformers": "transformers",
         "vllm-cpu": "vLLM", "hf-tokenizers": "HF tokenizers", "jinja2": "jinja2", "qguard": "qguard"}
MARK = "<!-- table -->"
RATES = ("checks/s", "MB/s", "tokens/s")


# plot, what the line says, qguard's metric, the peers' (the best of them counts)
LINES = [
    ("check", "verdict, prefix cached; peers decode 8 tokens", "verdict_prefix_p50", ["generate8_prefix_p50"]),
    ("check", "the same; peers' bare prefill", "verdict_prefix_p50", ["forced_prefix_p50"]),
    ("check", "verdict, cold; peers decode 8 tokens", "verdict_p50", ["generate8_p50"]),
    ("check", "the same; peers' bare prefill", "verdict_p50", ["forced_p50"]),
    ("check", "8 tokens decoded, prefix cached", "generate8_prefix_p50", ["generate8_prefix_p50"]),
    ("check", "14 tokens decoded, prefix cached", "generate14_prefix_p50", ["generate14_prefix_p50"]),
    ("check", "8 tokens decoded, cold", "generate8_p50", ["generate8_p50"]),
    ("bulk", "64 checks; peers decode 8 tokens", "verdict_prefix",
     ["generate8_prefix", "generate8_prefix_g16", "generate8", "generate8_g16"]),
    ("bulk", "the same; peers' bare prefill", "verdict_prefix", ["forced_prefix", "forced_prefix_g16", "forced"]),
    *[("stream", f"{n} token{'s' * (n > 1)} a step behind {c:,}", f"step{n}_ctx{c}_p50",
       [f"step{n}_ctx{c}_p50", f"step{n}_ctx{c}_logits"]) for c in (128, 1024, 4096) for n in (1, 16)],
    ("stream", "32 streams, a token each", "streams32_step1_ctx128_p50", []),
    ("long", "prompt of 4,096 tokens", "prefill_4096", ["prefill_4096"]),
    ("long", "prompt of 16,384 tokens", "prefill_16384", ["prefill_16384"]),
    ("load", "process start to first verdict", "first_verdict", ["first_verdict"]),
    ("load", "the same, from packed weights", "first_verdict_packed", ["first_verdict"]),
    ("load", "peak resident memory", "rss_peak", ["rss_peak"]),
    ("load", "the same, from packed weights", "rss_peak_packed", ["rss_peak"]),
    ("mixed", "verdict, prefix cached, nothing else", "check_alone_p50", []),
    ("mixed", "the same, 99th percentile", "check_alone_p99", []),
    ("mixed", "beside 64 bulk jobs", "check_beside_bulk_p50", []),
    ("mixed", "the same, the slowest", "check_beside_bulk_max", []),
    ("mixed", "beside a prompt of 16,384 tokens", "check_beside_long_p50", []),
    ("mixed", "the same, the slowest", "check_beside_long_max", []),
    ("growing", "tokens computed for a check", "computed", []),
    ("growing", "time of a check", "check_p50", []),
    ("text", "tokenizer, English", "tokenizer_english", ["tokenizer_english"]),
    ("text", "tokenizer, Chinese", "tokenizer_chinese", ["tokenizer_chinese"]),
    ("text", "chat template", "template_p50", ["template_p50"]),
]


def read(paths):
    """{(engine, dtype, workload, metric): (best, unit)}"""
    got, units = collections.defaultdict(list), {}
    for path in paths:
        for line in open(path):
            if line.startswith(("#", "engine,")):
                continue
            engine, _, dtype, workload, metric, value, unit, _, _ = line.rstrip("\n").split(",", 8)
            key = engine, dtype, workload, metric
            got[key].append(float(value) / (1.048576 if unit == "MB" and metric == "rss_peak" else 1))
            units[key] = unit
    return {k: ((max if units[k] in RATES else min)(v), units[k]) for k, v in got.items()}


def ratio(own, other, unit):
    """How much better own is than other."""
    return own / other if unit in RATES else other / own


def peers(rows, workload, metrics, bits=None):
    """[(value, "engine format")], the best first."""
    found = {}
    for (engine, dtype, w, metric), (value, unit) in rows.items():
        if engine == "qguard" or w != workload or metric not in metrics or bits not in (None, BITS[dtype]):
            continue
        name = NAMES.get(engine, engine) + (f" {dtype}" if dtype != "-" else "")
        if name not in found or ratio(value, found[name][0], unit) > 1:
            found[name] = value, unit
    unit = next((u for _, u in found.values()), "")
    return sorted(((v, n) for n, (v, _) in found.items()), reverse=unit in RATES)


def figure(value, unit):
    return (f"{value:.0f}" if value >= 100 else f"{value:.3g}") + f" {unit}"


def versus(own, best, unit):
    return f"{ratio(own, best[0][0], unit):.2f} × ({figure(best[0][0], unit)}, {best[0][1]})" if best else "–"


def table(rows):
    yield "| workload | format | qguard | from the limit | against the best peer of as many bits | against the best peer |"
    yield "| --- | --- | ---: | ---: | --- | --- |"
    for workload, title, metric, theirs in LINES:
        for dtype in ("bfloat16", "int8", "int4"):
            if ("qguard", dtype, workload, metric) not in rows:
                continue
            own, unit = rows["qguard", dtype, workload, metric]
            limit = rows.get(("qguard", dtype, workload, metric + "_limit"))
            far = f"{1 / ratio(own, limit[0], unit):.2f} ×" if limit else "–"
            same = peers(rows, workload, theirs, BITS[dtype])
            yield (f"| {workload}: {title} | {dtype if workload != 'text' else '–'} | {figure(own, unit)} | {far} | "
                   f"{versus(own, same, unit)} | {versus(own, peers(rows, workload, theirs), unit)} |")


# ---- plots --------------------------------------------------------------------------------------

BAR, GAP, LEFT, WIDTH = 16, 6, 220, 460


def bars(rows, workload, title, metric, theirs):
    """[(name, value, limit, ours)] of one line."""
    own = [(f"qguard {d}", *rows["qguard", d, workload, metric],
            rows.get(("qguard", d, workload, metric + "_limit"), (0,))[0])
           for d in ("bfloat16", "int8", "int4") if ("qguard", d, workload, metric) in rows]
    unit = own[0][2] if own else ""
    return unit, [(n, v, l, True) for n, v, _, l in own] + [(n, v, 0, False) for v, n in peers(rows, workload, theirs)]


def svg(rows, workload):
    parts, y = [], 14
    text = lambda x, y, s, extra="": parts.append(f'<text x="{x}" y="{y}" {extra}>{html.escape(s)}</text>')
    for _, title, metric, theirs in (l for l in LINES if l[0] == workload):
        unit, list_ = bars(rows, workload, title, metric, theirs)
        if not unit:  # nothing of qguard's to compare
            continue
        y += 20
        text(10, y, f"{title}, {unit} ({'more' if unit in RATES else 'less'} is better)", 'font-weight="bold"')
        y += 8
        most = max(max(v, l) for _, v, l, _ in list_)
        for name, value, limit, ours in list_:
            length = WIDTH * value / most
            text(LEFT - 8, y + BAR - 4, name, 'text-anchor="end"')
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" '
                         f'fill="{"#2a7" if ours else "#99a"}"/>')
            if limit:
                at = LEFT + WIDTH * limit / most
                parts.append(f'<path d="M{at:.1f} {y - 2}v{BAR + 4}" stroke="#c22" stroke-width="2"/>')
            text(LEFT + max(length, WIDTH * limit / most) + 6, y + BAR - 4, figure(value, ""))
            y += BAR + GAP
    if not parts:
        return None
    text(10, 16, "red: what the hardware allows", 'fill="#c22"')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 90}" height="{y + 10}" '
            f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
            + "\n".join(parts) + "</svg>\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--plots", type=pathlib.Path)
    p.add_argument("--into", type=pathlib.Path)
    p.add_argument("csv", nargs="+")
    args = p.parse_args()
    rows = read(args.csv)
    text = "\n".join(table(rows))
    print(text)
    if args.into:
        before, _, after = args.into.read_text().split(MARK)
        args.into.write_text(f"{before}{MARK}\n{text}\n{MARK}{after}")
    for workload in dict.fromkeys(l[0] for l in LINES) if args.plots else ():
        picture = svg(rows, workload)
        if picture:
            args.plots.mkdir(parents=True, exist_ok=True)
            (args.plots / f"{workload}.svg").write_text(picture)


if __name__ == "__main__":
    main()
