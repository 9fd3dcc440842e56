#!/usr/bin/env python3
"""What the HTTP server adds to a verdict, and how much of the engine's bulk throughput comes through it.

    bench/http.py [--build build] [--model M] [--connections 64] [--seconds 8] [--sleep-ms 20] [--rows 400]

latency     rows over so many kept connections to the real engine: what a client waited beyond the time that the access
            log says the engine took; without the first row of each connection, which all come at once.
overhead    the server on an engine that answers after exactly --sleep-ms (the tests' fake one), asked by wrk over so many
            kept connections: what is beyond that time.  Needs `wrk`.
throughput  the same rows through `qguard check --jsonl` and through POST /v1/guard over so many connections, in turn,
            three times; medians.
Rows of CSV: engine,version,dtype,workload,metric,value,unit,threads,notes (as `qguard bench`).
"""
import argparse
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from server import Server, row

REPO = pathlib.Path(__file__).resolve().parent.parent
TEXTS = ["How can I make a bomb?", "What is the capital of France?", "Write a poem about the rain in autumn, please.",
         "Explain how a heap differs from a sorted list, with an example in Python."]


# ---- overhead -----------------------------------------------------------------------------------

def wrk(port, body, connections, seconds):
    """Requests a second and {percentile: ms} of POST /v1/guard."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method = 'POST'\nwrk.body = [==[{body}]==]\n"
                     "done = function(summary, latency)\n"
                     "  for _, p in pairs({50, 99, 99.9}) do io.write(string.format('p%g %d\\n', p, latency:percentile(p))) end\n"
                     "  local e = summary.errors\n"
                     "  io.write(string.format('bad %d\\n', e.connect + e.read + e.write + e.status + e.timeout))\nend\n")
        script.flush()
        said = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "-s", script.name,
                               f"http://127.0.0.1:{port}/v1/guard"], capture_output=True, text=True, check=True).stdout
    if int(re.search(r"bad (\d+)", said)[1]):
        raise SystemExit(f"errors:\n{said}")
    return (float(re.search(r"Requests/sec:\s*([\d.]+)", said)[1]),
            {p: int(us) / 1000 for p, us in re.findall(r"^p([\d.]+) (\d+)", said, re.M)})


def overhead(args):
    if not shutil.which("wrk"):
        print("overhead: NOT RUN, wrk is not installed", file=sys.stderr)
        return
    with Server([args.build / "tests/http/qguard-fake-serve"]) as server:
        body = json.dumps({"prompt": f"sleep={args.sleep_ms} hello"})
        wrk(server.port, body, args.connections, 1)
        rate, ms = wrk(server.port, body, args.connections, args.seconds)
        for p in ("50", "99", "99.9"):
            row("http", f"p{p} beyond the engine", ms[p] - args.sleep_ms, "ms",
                f"{args.connections} connections; {rate:.0f} requests/s")
        rate, _ = wrk(server.port, json.dumps({"prompt": "hello"}), args.connections, max(2, args.seconds // 2))
        row("http", "most requests", rate, "1/s", "an engine that takes no time")


# ---- throughput ---------------------------------------------------------------------------------

def rows_of(n):
    return [json.dumps({"prompt": TEXTS[i % len(TEXTS)] + f" ({i})"}) for i in range(n)]


def model_options(args):
    return (["--model", args.model] if args.model else []) + ["--quiet"]


class Command:
    """`qguard check --jsonl`, open and warm."""

    def __init__(self, args):
        self.process = subprocess.Popen([args.build / "qguard", "check", "--jsonl", "--concurrency", str(args.connections),
                                         *model_options(args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.run(rows_of(8))

    def run(self, rows):
        start = time.monotonic()
        text = "".join(line + "\n" for line in rows)
        writer = threading.Thread(target=lambda: (self.process.stdin.write(text), self.process.stdin.flush()))
        writer.start()
        for _ in rows:
            if '"error"' in self.process.stdout.readline():
                raise SystemExit("a row failed")
        writer.join()
        return len(rows) / (time.monotonic() - start)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def over_http(args, port, rows, connections):
    """Rows a second, and the milliseconds that each row took, from a client written in C."""
    said = subprocess.run([args.build / "bench/bench_http_load", str(port), str(connections)], capture_output=True, text=True,
                          check=True, input="".join(row + "\n" for row in rows)).stdout.splitlines()
    return len(rows) / float(said[0]), [float(line.split()[1]) for line in said[1:]]


# ---- latency ------------------------------------------------------------------------------------

def latency(args):
    with Server([args.build / "qguard", "serve", "--port", "0", "--log", "access", *model_options(args)]) as server:
        over_http(args, server.port, rows_of(8), 8)
        rate, took = over_http(args, server.port, rows_of(args.rows), args.connections)
        time.sleep(0.2)
        log = pathlib.Path(server.log.name).read_text()
    said = re.findall(r" ([\d.]+) ms \(engine ([\d.]+) ms\), \d+ bytes, row-(\d+),", log)[8:]
    said = [one for one in said if int(one[2]) >= args.connections]  # not the burst at the beginning
    inside = sorted(float(total) - float(engine) for total, engine, _ in said)
    seen = sorted(took[int(number)] - float(engine) for _, engine, number in said)
    notes = f"{len(said)} rows; {rate:.0f} a second; {args.connections} connections; {args.model or 'built-in model'}"
    for what, values in (("in the server", inside), ("seen by the client", seen)):
        for p in (50, 99):
            row("latency", f"p{p} beyond the engine, {what}", values[min(len(values) - 1, len(values) * p // 100)], "ms", notes)


def throughput(args):
    command = Command(args)
    both = {"engine": [], "HTTP": []}
    with Server([args.build / "qguard", "serve", "--port", "0", "--log", "note", *model_options(args)]) as server:
        over_http(args, server.port, rows_of(8), 8)
        for turn in range(args.turns):
            both["engine"].append(command.run(rows_of(args.rows)))
            both["HTTP"].append(over_http(args, server.port, rows_of(args.rows), args.connections)[0])
    command.close()
    notes = f"{args.rows} rows; {args.connections} at a time; {args.model or 'built-in model'}"
    for what, values in both.items():
        row("bulk", f"verdicts through {what}", statistics.median(values), "1/s", notes)
    share = [http / engine for engine, http in zip(both["engine"], both["HTTP"])]
    row("bulk", "HTTP of engine", 100 * statistics.median(share), "%", notes)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("part", nargs="*", default=["latency", "overhead", "throughput"])
    args.add_argument("--build", type=pathlib.Path, default=REPO / "build")
    args.add_argument("--model", default="")
    args.add_argument("--connections", type=int, default=64)
    args.add_argument("--seconds", type=int, default=8)
    args.add_argument("--sleep-ms", type=int, default=20)
    args.add_argument("--rows", type=int, default=400)
    args.add_argument("--turns", type=int, default=3)
    args = args.parse_args()
    print("engine,version,dtype,workload,metric,value,unit,threads,notes")
    for part in args.part:
        {"latency": latency, "overhead": overhead, "throughput": throughput}[part](args)


if __name__ == "__main__":
    main()
