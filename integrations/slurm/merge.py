#!/usr/bin/env python3
"""Puts the shards of `qguard label --shard i/n` together in the order of the input:

    python3 merge.py part-0.jsonl part-1.jsonl … > all.jsonl

Shard i holds lines i, i+n, i+2n, …, so rows are taken in turn.  Needs shards without bad or dropped rows:
where a shard ends early the merge says so and stops."""
import sys


def main():
    parts = [open(path, "rb") for path in sys.argv[1:]]
    ended = None
    while True:
        for i, part in enumerate(parts):
            line = part.readline()
            if line and ended is not None:
                sys.exit(f"{sys.argv[1 + ended]} is shorter than {sys.argv[1 + i]}: rows are missing in it")
            if not line:
                ended = i if ended is None else ended
                continue
            sys.stdout.buffer.write(line)
        if ended is not None:
            return


if __name__ == "__main__":
    main()
