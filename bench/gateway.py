#!/usr/bin/env python3
"""How many streams the gateway holds, with the model left out.

    bench/gateway.py [--build build] [--streams 500,2000] [--rate 20] [--seconds 10]

Starts bench_gateway_stub (every token is Safe at once) and bench_gateway_load (upstream and clients in
one thread), and prints for each number of streams the delay that the gateway adds to a token (from when
the token that releases it was sent), its processor time and its memory beside the idle process.
"""
import argparse
import os
import pathlib
import re
import socket
import subprocess
import time


def resident(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def measure(build, streams, rate, seconds):
    port = free_port()
    gateway = subprocess.Popen([build / "bench" / "bench_gateway_stub", f"http://127.0.0.1:{port}/v1"],
                               stderr=subprocess.PIPE, text=True)
    listening = int(re.search(r"listening on http://\S+:(\d+) ", gateway.stderr.readline())[1])
    idle, used = resident(gateway.pid), cpu_seconds(gateway.pid)
    begun = time.monotonic()
    load = subprocess.Popen([build / "bench" / "bench_gateway_load", str(port), str(listening),
                             str(streams), str(rate), str(seconds), "4"],
                            stdout=subprocess.PIPE, text=True)
    peak = 0
    while load.poll() is None:
        peak = max(peak, resident(gateway.pid))
        time.sleep(0.2)
    wall, used = time.monotonic() - begun, cpu_seconds(gateway.pid) - used
    gateway.terminate()
    gateway.wait(90)
    print(f"{load.stdout.read().strip()} | gateway {used / wall:.2f} processors, "
          f"{(peak - idle) / streams / 1024:.1f} KiB a stream", flush=True)


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    args.add_argument("--build", type=pathlib.Path, default="build")
    args.add_argument("--streams", default="500,2000")
    args.add_argument("--rate", type=int, default=20)
    args.add_argument("--seconds", type=int, default=10)
    given = args.parse_args()
    for streams in given.streams.split(","):
        measure(given.build, int(streams), given.rate, given.seconds)


if __name__ == "__main__":
    main()
