#!/usr/bin/env python3
"""A copy of a checkpoint that computes the same with outlier channels inside.

    plant_outliers.py FROM TO TIMES

In every layer a few channels of what goes into each matrix product are made TIMES as large and the
matching columns of the weights that much smaller, as trained Qwen models have them:

    input_layernorm -> q, k, v      post_attention_layernorm -> gate, up
    v (rows)        -> o            up (rows)                -> down

Tensors are written as float32, so that dividing by TIMES costs nothing.  One shard only.
"""
import json
import pathlib
import shutil
import struct
import sys

import numpy as np

CHANNELS = 4  # of each product's input


def read(path):
    """Name -> float32 array, of one safetensors file."""
    with open(path, "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
        data = f.read()
    out = {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        raw = data[slice(*t["data_offsets"])]
        if t["dtype"] == "BF16":
            flat = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        else:
            flat = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2"}[t["dtype"]]).astype("<f4")
        out[name] = flat.reshape(t["shape"]).copy()
    return out


def write(path, tensors):
    header, at = {}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            f.write(t.astype("<f4").tobytes())


def plant(tensors, config, times):
    """Changes tensors in place."""
    rng = np.random.default_rng(100)
    d, heads, kv_heads = (config[k] for k in ("head_dim", "num_attention_heads",
                                              "num_key_value_heads"))
    times = np.float32(times)

    def some(n):
        return rng.choice(n, CHANNELS, replace=False)

    for i in range(config["num_hidden_layers"]):
        layer = {k: tensors[f"model.layers.{i}.{k}.weight"] for k in (
            "input_layernorm", "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj",
            "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
            "mlp.down_proj")}
        for norm, readers in (("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj",
                                                   "self_attn.v_proj")),
                              ("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj"))):
            at = some(layer[norm].size)
            layer[norm][at] *= times
            for name in readers:
                layer[name][:, at] /= times
        at = some(kv_heads * d)
        layer["self_attn.v_proj"][at] *= times
        for head in range(heads):  # the columns of o that read these values
            mine = at[at // d == head // (heads // kv_heads)] % d
            layer["self_attn.o_proj"][:, head * d + mine] /= times
        at = some(layer["mlp.up_proj"].shape[0])
        layer["mlp.up_proj"][at] *= times
        layer["mlp.down_proj"][:, at] /= times


def copy(source, target, times):
    """Writes target, which must exist and be empty."""
    source, target = pathlib.Path(source), pathlib.Path(target)
    config = json.loads((source / "config.json").read_text())
    tensors = read(source / "model.safetensors")
    plant(tensors, config, times)
    write(target / "model.safetensors", tensors)
    for name in ("config.json", "generation_config.json", "tokenizer.json",
                 "tokenizer_config.json", "chat_template.jinja"):
        if (source / name).is_file():
            shutil.copy(source / name, target / name)


if __name__ == "__main__":
    pathlib.Path(sys.argv[2]).mkdir(parents=True)
    copy(sys.argv[1], sys.argv[2], float(sys.argv[3]))
