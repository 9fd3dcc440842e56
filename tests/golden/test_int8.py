"""int8 and int4 beside float32 on the same checkpoint: tiny-gen as it is, and with outlier channels
planted into every product's input (plant_outliers.py), which leaves the function as it was."""
import json

import numpy as np
import pytest

from golden import plant_outliers

# root mean square of the difference, where the logits' own standard deviation is 2.1
BOUND = {"int8": 0.16, "int4": 1.1}


@pytest.fixture(scope="module")
def tiny(shared):
    return shared / "goldens" / "tiny-gen"


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(8)
    ids = [rng.integers(0, 1024, n).tolist() for n in (5, 40, 130)]
    return "".join(json.dumps({"ids": i, "positions": [len(i) // 2, len(i) - 1],
                               "columns": list(range(1024))}) + "\n" for i in ids)


@pytest.fixture(scope="module")
def logits(run_qguard, rows):
    def run(model, dtype, *more):
        done = run_qguard("logits", "--jsonl", "--model", model, "--dtype", dtype, *more,
                          input=rows)
        assert done.returncode == 0, done.stderr
        return np.array([[p["values"][str(c)] for c in range(1024)]
                         for line in done.stdout.splitlines()
                         for p in json.loads(line)["logits"]])

    return run


@pytest.fixture(scope="module")
def reference(logits, tiny):
    return logits(tiny, "float32")


def rms(a, b):
    return float(np.sqrt(np.mean((a - b) ** 2)))


@pytest.mark.parametrize("times", ["as it is", 100, 1000])
@pytest.mark.parametrize("dtype", BOUND)
def test_error_beside_float32(logits, tiny, reference, tmp_path, dtype, times):
    model = tiny
    if times != "as it is":
        model = tmp_path
        plant_outliers.copy(tiny, model, times)
        assert rms(logits(model, "float32"), reference) < 1e-3, "the function must not change"
    error = rms(logits(model, dtype), reference)
    print(f"{dtype}, outliers {times}: root mean square {error:.3f}")
    assert error <= BOUND[dtype]


@pytest.mark.parametrize("dtype", BOUND)
def test_rows_of_the_table_agree(logits, tiny, dtype):
    """All products of 8-bit activations give the same bits; what differs is attention and the output
    matrix, and a rounding that falls the other way because of them."""
    best = logits(tiny, dtype)
    for cpu in ("avx2", "ref"):
        assert rms(logits(tiny, dtype, "--cpu", cpu), best) < 0.16
