#!/usr/bin/env python3
"""Measure qguard and the other engines in turn, on this machine, on the same workloads.

    bench/compare.py --model DIR [--peers DIR] [--out FILE.csv] [options]

Each round runs each workload with one engine after the other (A B C A B C ...), so that drift hits
all alike. DIR of --peers (or $QGUARD_PEERS) holds a virtual environment for each engine, as
../shared/tools/peers/README.md installs them, and the exported models:

    hf/ llamacpp/ openvino/ vllm/ base/ (tokenizers)     gguf/ ir-fp16/ ir-int8/ ir-int4/

What is not there is skipped by name. The rows, and this machine's features, go to FILE.csv;
bench/report.py makes the table and the plots from it. Standard library only.
"""
import argparse
import gzip
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLAGS = ("avx2 fma f16c avx512f avx512bw avx512_bf16 avx512_vnni amx_tile amx_bf16 amx_int8 "
         "asimd asimddp i8mm bf16").split()

# workload: (rounds, options of qguard bench, options of the peers' scripts)
WORKLOADS = {
    "limits": (1, None, None),
    "text": (2, [], []),
    "check": (2, ["--repeat", "5"], ["--repeat", "3"]),
    "stream": (2, [], ["--quick"]),
    "bulk": (1, [], ["--bulk-repeat", "1"]),
    "long": (1, [], []),
    "load": (1, [], []),
    "mixed": (1, ["--repeat", "20"], None),
    "growing": (1, [], None),
}

# --quick: in about eight minutes; the 64 prompts of `bulk` alone take a peer four
QUICK = {
    "check": (1, ["--repeat", "4"], ["--repeat", "2"]),
    "load": (1, [], []),
    "bulk": (1, [], None),
    "stream": (1, [], []),
}

# engine: (script, {format: its options})
PEERS = {
    "openvino": ("peer_openvino.py", {t: ["--ir", f"{{peers}}/ir-{t}", "--type", t]
                                      for t in ("fp16", "int8", "int4")}),
    "llamacpp": ("peer_llamacpp.py", {t: ["--gguf", "{peers}/gguf", "--type", t, "--groups", "16"]
                                      for t in ("bf16", "q8_0", "q4_0")}),
    "hf": ("peer_hf.py", {"bfloat16": []}),
    "vllm": ("peer_vllm.py", {"bfloat16": []}),
}


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--qguard", default=ROOT / "build/qguard", type=pathlib.Path)
    p.add_argument("--model", required=True, type=pathlib.Path)
    p.add_argument("--peers", default=os.environ.get("QGUARD_PEERS"), type=pathlib.Path)
    p.add_argument("--scripts", type=pathlib.Path, help="of the peers",
                   default=pathlib.Path(os.environ.get("QGUARD_SHARED", ROOT / "../shared")) / "tools/peers")
    p.add_argument("--out", default="/dev/stdout", help="CSV file; appended to when it exists")
    p.add_argument("--only", default=",".join(WORKLOADS), help="workloads, in this order")
    p.add_argument("--dtypes", default="bfloat16,int8,int4", help="of qguard; empty: peers only")
    p.add_argument("--engines", help="peers, e.g. openvino:int8,llamacpp (default: all installed)")
    p.add_argument("--rounds", type=int, help="of every workload")
    p.add_argument("--quick", action="store_true",
                   help="few repeats, no prompt of 16,384 tokens, peers not in `bulk`: about eight minutes")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--wrap", default="", help="words put before every command, e.g. 'numactl -N 0'")
    p.add_argument("--qguard-args", default="", help="more options of qguard bench")
    p.add_argument("--peer-args", default="", help="more options of the peers' scripts")
    p.add_argument("--minutes", type=float, default=600, help="start nothing after so many")
    return p.parse_args()


def plan(args, workload):
    return QUICK.get(workload, WORKLOADS[workload]) if args.quick else WORKLOADS[workload]


class Run:
    def __init__(self, args):
        self.args = args
        self.end = time.time() + 60 * args.minutes
        self.out = open(args.out, "a")
        self.texts = tempfile.TemporaryDirectory()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.texts.cleanup()

    def rows(self, name, cmd, note=""):
        """Runs cmd and keeps its CSV rows."""
        left = self.end - time.time()
        if left <= 0:
            return say(f"{name}: no time left, skipped")
        say(name)
        child = subprocess.Popen([*self.args.wrap.split(), *map(str, cmd)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 start_new_session=True, env=dict(os.environ, TOKENIZERS_PARALLELISM="false"))
        try:
            out, err = child.communicate(timeout=left + 60)
            if child.returncode:
                say(f"{name}: failed: {err.strip().splitlines()[-1:]}")
        except subprocess.TimeoutExpired:
            say(f"{name}: no time left, stopped")
            os.killpg(child.pid, signal.SIGKILL)
            out, _ = child.communicate()
        self.keep(out, note)

    def keep(self, text, note):
        for line in text.splitlines():
            if line.count(",") == 8 and not line.startswith("engine,"):
                self.out.write(line + note + "\n")
        self.out.flush()


def machine(run):
    """What the figures were measured on, as comments."""
    args = run.args
    info = pathlib.Path("/proc/cpuinfo").read_text()
    fields = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", info, re.M))
    have = fields.get("flags", fields.get("Features", "")).split()
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) >> 20
    version = subprocess.run([args.qguard, "version"], capture_output=True, text=True).stdout.strip()
    run.out.write(f"# {time.strftime('%Y-%m-%d %H:%M')}; {fields.get('model name', '?')}, family {fields.get('cpu family', '?')} "
                  f"model {fields.get('model', '?')}; {args.threads} threads of {os.cpu_count()}; {memory} GiB\n"
                  f"# used of its features: {' '.join(f for f in FLAGS if f in have)}\n"
                  f"# {version}; model {args.model.name}; load {os.getloadavg()[0]:.2f} at the start\n"
                  "engine,version,dtype,workload,metric,value,unit,threads,notes\n")


def limits(run):
    """The machine's limits by the peers' own program, beside those that qguard measures."""
    args = run.args
    source = args.scripts / "machine_limits.c"
    if source.exists():
        program = pathlib.Path(run.texts.name) / "machine_limits"
        subprocess.run(["cc", "-O3", "-march=native", "-pthread", source, "-o", program], check=True)
        for metric in ("peak", "read_dram"):
            run.rows(f"machine {metric}", [program, args.threads, metric])


def make_texts(run):
    """english.txt and chinese.txt: replies of the training data, a line each, about 1 MB."""
    source = run.args.scripts / "../../data/train/responses.jsonl.gz"
    if not source.exists():
        return []
    left = {"en": 1 << 20, "zh": 1 << 20}
    names = {"en": "english.txt", "zh": "chinese.txt"}
    files = {k: open(pathlib.Path(run.texts.name) / n, "w") for k, n in names.items()}
    for line in gzip.open(source, "rt"):
        row = json.loads(line)
        if left.get(row["lang"], 0) > 0:
            text = row["messages"][-1]["content"].replace("\n", " ").replace("\r", " ")
            left[row["lang"]] -= files[row["lang"]].write(text + "\n")
    for f in files.values():
        f.close()
    return [f.name for f in files.values()]


def own(run, workload, note, texts):
    args = run.args
    if workload == "limits":
        return limits(run)
    dtypes = args.dtypes.split(",") if args.dtypes else []
    for dtype in dtypes[:1] if workload == "text" else dtypes:
        cmd = [args.qguard, "bench", workload, *(texts if workload == "text" else []), "--csv", "--quiet",
               "--model", args.model, "--dtype", dtype, "--threads", args.threads, *plan(args, workload)[1],
               *args.qguard_args.split()]
        if workload == "load":
            cmd += ["--cache", run.texts.name]
        run.rows(f"qguard {dtype} {workload}", cmd + (["--quick"] if args.quick else []), note)


def wanted(args, engine, fmt):
    return not args.engines or {engine, f"{engine}:{fmt}"} & set(args.engines.split(","))


def others(run, workload, note, texts):
    args, options = run.args, plan(run.args, workload)[2]
    if options is None or not args.peers:
        return
    if workload == "text":
        python = args.peers / "base/bin/python"
        if python.exists() and texts:
            run.rows("tokenizers text", [python, ROOT / "bench/peer_text.py", args.model, *texts], note)
        return
    for engine, (script, formats) in PEERS.items():
        python = args.peers / engine / "bin/python"
        for fmt, extra in formats.items():
            if not wanted(args, engine, fmt):
                continue
            extra = [e.replace("{peers}", str(args.peers)) for e in extra]
            if not python.exists() or (extra and not pathlib.Path(extra[1]).exists()):
                say(f"{engine} {fmt}: not installed, skipped")
                continue
            cmd = [python, args.scripts / script, args.model, "--work", args.peers / "bench-workload.json",
                   "--threads", args.threads, "--only", workload, *options, *extra,
                   *args.peer_args.split()]
            run.rows(f"{engine} {fmt} {workload}", cmd + (["--quick"] if args.quick else []), note)


def main():
    args = arguments()
    workloads = args.only.split(",")
    for w in workloads:
        if w not in WORKLOADS:
            sys.exit(f"compare.py: the workloads are {', '.join(WORKLOADS)}")
    if not args.peers:
        say("no --peers: qguard alone")
    with Run(args) as run:
        machine(run)
        texts = make_texts(run)
        for workload in workloads:
            for i in range(args.rounds or plan(args, workload)[0]):
                note = f"; round {i + 1}"
                own(run, workload, note, texts)
                others(run, workload, note, texts)


if __name__ == "__main__":
    main()
