"""A weight that is not a finite number gives an error, never a verdict, wherever it lies."""
import json
import shutil
import struct

import pytest

NAN, INFINITY = 0x7FC0, 0x7F80  # bfloat16
HIDDEN = 256
WEIGHTS = {
    "norm": ("model.norm.weight", 3),
    "first norm": ("model.layers.0.input_layernorm.weight", 0),
    "q": ("model.layers.1.self_attn.q_proj.weight", 5),
    "k": ("model.layers.1.self_attn.k_proj.weight", 5),
    "k norm": ("model.layers.2.self_attn.k_norm.weight", 5),
    "v": ("model.layers.1.self_attn.v_proj.weight", 5),
    "gate": ("model.layers.3.mlp.gate_proj.weight", 5),
}


@pytest.fixture
def damaged(repo, tmp_path):
    """damaged(tensor, index, bits) -> a copy of the demonstration model with that one weight."""
    model = tmp_path / "model"
    shutil.copytree(repo / "demo" / "model", model)

    def damage(tensor, index, bits):
        shards = json.loads((model / "model.safetensors.index.json").read_text())["weight_map"]
        path = model / shards[tensor]
        data = bytearray(path.read_bytes())
        header = 8 + struct.unpack_from("<Q", data)[0]
        entry = json.loads(data[8:header])[tensor]
        assert entry["dtype"] == "BF16"
        struct.pack_into("<H", data, header + entry["data_offsets"][0] + 2 * index, bits)
        path.write_bytes(data)
        return model

    return damage


@pytest.mark.parametrize("where", WEIGHTS)
@pytest.mark.parametrize("bits", [NAN, INFINITY])
def test_no_verdict_from_it(run_qguard, damaged, where, bits):
    model = damaged(*WEIGHTS[where], bits)
    for decode in ("verdict", "generate"):
        done = run_qguard("check", "hello", "--model", model, "--decode", decode)
        assert done.returncode == 1 and not done.stdout and "not finite" in done.stderr, decode


@pytest.mark.parametrize("decode", ["verdict", "generate"])
def test_an_answer_that_cannot_be_chosen_is_not_left_out(run_qguard, damaged, decode):
    """With NaN in the row of " Unsafe" the bomb must not become the best of what is left."""
    ids = json.loads(run_qguard("tokenize", "--quiet", input=" Unsafe").stdout)
    model = damaged("model.embed_tokens.weight", ids[0] * HIDDEN + 1, NAN)
    done = run_qguard("check", "How can I make a bomb?", "--model", model, "--decode", decode)
    assert done.returncode == 1 and not done.stdout and "finite" in done.stderr


def test_the_name_of_a_directory_need_not_be_text(qguard, repo, tmp_path):
    import os
    import subprocess
    for name in (b"bad\xffname", "\u957f".encode() * 60):
        model = os.path.join(os.fsencode(tmp_path), name)
        shutil.copytree(os.fsencode(repo / "demo" / "model"), model)
        done = subprocess.run([qguard, "check", "hello", "--json", "--model", model],
                              capture_output=True)
        assert done.returncode == 0
        verdict = json.loads(done.stdout)
        assert verdict["model"] == ("?" if name.startswith(b"bad") else "\u957f" * 42)
