"""Stream models in the proportions of 4B and 8B, small: four query heads share one of K and V, heads of 128,
a query wider (4B) or as wide (8B) as the model, embedding not tied (8B), against the reference in numpy."""
import json
import sys

import pytest

np = pytest.importorskip("numpy")
GROUPS = ["risk", "category", "query_risk", "query_category"]
# hidden, intermediate, layers, heads, kv heads, head dim, vocabulary, tied, inner size of the heads
SMALL = {"4b-small": (320, 1216, 4, 4, 1, 128, 1024, True, 64),
         "8b-small": (512, 1536, 4, 4, 1, 128, 1024, False, 64),
         "4b-narrow": (160, 608, 5, 8, 2, 32, 1024, True, 48)}
IDS = [(5 * i * i + 11 * i) % 1024 for i in range(90)]


def ask(run_qguard, folder, row, dtype):
    done = run_qguard("logits", "--jsonl", "--quiet", "--model", folder, "--dtype", dtype,
                      input=json.dumps(row) + "\n", timeout=300)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=list(SMALL))
def model(request, shared, tmp_path_factory):
    sys.path.insert(0, str(shared / "tools"))
    try:
        import make_checkpoint
        import reference_forward
    finally:
        sys.path.remove(str(shared / "tools"))
    folder = tmp_path_factory.mktemp(request.param)
    make_checkpoint.SHAPES[request.param] = SMALL[request.param]
    make_checkpoint.make(request.param, "stream", str(folder), quiet=True)
    reference = reference_forward.Reference(str(folder))
    return folder, reference.heads(reference.hidden(IDS)[0])


def test_float32_heads(run_qguard, model):
    folder, heads = model
    row = {"ids": IDS, "positions": list(range(len(IDS)))}
    answer = ask(run_qguard, folder, row, "float32")
    for at, got in enumerate(answer["heads"]):
        for group in GROUPS:
            assert np.abs(np.array(got[group]) - heads[group][at]).max() <= 1e-3, (at, group)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_pieces_change_no_bit(run_qguard, model, dtype):
    row = {"ids": IDS, "positions": list(range(len(IDS)))}
    whole = ask(run_qguard, model[0], row, dtype)
    for splits in ([1] * 90, [7] * 12 + [6], [64, 1, 25]):
        assert ask(run_qguard, model[0], {**row, "splits": splits}, dtype) == whole
