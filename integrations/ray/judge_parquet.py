#!/usr/bin/env python3
"""Judges Parquet files on a Ray cluster, one qguard in each worker:

    python judge_parquet.py IN_DIR OUT_DIR [--model M] [--workers 2] [--threads 2]

IN_DIR: files with a column "prompt" and maybe "response", or "messages".  OUT_DIR gets the same rows with
the columns that qguard.ray.Judge adds, in the same order."""
import argparse
import os
import time

import ray

from qguard.ray import Judge


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--model", help="directory, .gguf or pulled name, the same on every node")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2, help="of each worker")
    args = parser.parse_args()

    if "RAY_ADDRESS" in os.environ:
        ray.init()
    else:  # a cluster on this machine; reading and writing need a slot beside the workers'
        ray.init(num_cpus=max(os.cpu_count() or 1, args.workers * args.threads + 1))
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    start = time.time()
    rows = ray.data.read_parquet(args.input).map_batches(
        Judge, batch_size=256, concurrency=args.workers, num_cpus=args.threads,
        fn_constructor_kwargs={"model": args.model, "threads": args.threads})
    rows.write_parquet(args.output)
    n = ray.data.read_parquet(args.output).count()
    print(f"{n} rows in {time.time() - start:.1f} s")


if __name__ == "__main__":
    main()
