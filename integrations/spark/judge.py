#!/usr/bin/env python3
"""Judges a table with Spark: one qguard in each Python worker, opened once per partition.

    spark-submit judge.py IN_DIR OUT_DIR [MODEL]

IN_DIR: Parquet with columns prompt and response (may be null).  On the executors: the wheel, and the model
at the same path."""
import sys

from pyspark.sql import SparkSession


def judge(model):
    """A function for mapInPandas."""
    def run(frames):
        from qguard.ray import Judge  # a worker's own; Ray itself is not needed

        worker = Judge(model, threads=1)
        for frame in frames:
            columns = worker(frame.to_dict("list"))
            for name in ("severity", "categories", "p_unsafe", "error"):
                frame["qguard_" + name] = columns["qguard_" + name]
            yield frame
    return run


def main():
    source, target, *model = sys.argv[1:]
    spark = SparkSession.builder.appName("qguard").getOrCreate()
    rows = spark.read.parquet(source)
    schema = (", ".join(f"`{f.name}` {f.dataType.simpleString()}" for f in rows.schema.fields)
              + ", qguard_severity string, qguard_categories array<string>, qguard_p_unsafe double, qguard_error string")
    rows.mapInPandas(judge(model[0] if model else None), schema).write.parquet(target)


if __name__ == "__main__":
    main()
