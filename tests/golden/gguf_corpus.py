"""Writes tests/fuzz/corpus/gguf: `python tests/golden/gguf_corpus.py` in build/venv.

Small files of every kind: whole models of one layer, a tokenizer, types, and some that are refused."""
import pathlib
import sys

import gguf
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from golden import to_gguf  # noqa: E402

OUT = HERE.parent / "fuzz/corpus/gguf"
CONFIG = {"max_position_embeddings": 16, "hidden_size": 32, "num_hidden_layers": 1,
          "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
          "rms_norm_eps": 1e-6, "rope_theta": 1e4}
SHAPES = {"token_embd": (8, 32), "output_norm": (32,), "attn_norm": (32,), "attn_q": (32, 32),
          "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32), "attn_q_norm": (16,),
          "attn_k_norm": (16,), "ffn_norm": (32,), "ffn_gate": (32, 32), "ffn_up": (32, 32),
          "ffn_down": (32, 32)}


def writer(name, arch="qwen3"):
    w = gguf.GGUFWriter(OUT / name, arch)
    to_gguf.add_config(w, CONFIG)
    return w


def add_model(w, kind):
    qtype = gguf.GGMLQuantizationType[kind]
    for i, (name, shape) in enumerate(SHAPES.items()):
        values = np.full(shape, 0.5 + i, np.float32)
        full = f"{name}.weight" if name in ("token_embd", "output_norm") else f"blk.0.{name}.weight"
        if len(shape) == 1:
            w.add_tensor(full, values)
        else:
            w.add_tensor(full, gguf.quants.quantize(values, qtype), raw_dtype=qtype)


def add_tokens(w):
    kept = {*range(33, 127), *range(161, 173), *range(174, 256)}  # the others follow from 256 on
    others = iter(range(256, 512))
    tokens = [chr(c if c in kept else next(others)) for c in range(256)] + ["ab", "<|im_end|>", "x!"]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list(tokens)
    w.add_token_types([1] * 257 + [3, 4])
    w.add_token_merges(["a b"])
    w.add_eos_token_id(257)
    w.add_chat_template("{{ messages[0].content }}")


def main():
    OUT.mkdir(exist_ok=True)
    for kind in ("F32", "BF16", "Q8_0", "Q4_0", "Q5_1"):
        w = writer(f"model-{kind.lower()}.gguf")
        w.add_vocab_size(8)
        add_model(w, kind)
        to_gguf.finish(w)
    w = writer("blocks-k.gguf")
    w.add_vocab_size(8)
    for kind in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"):
        qtype = gguf.GGMLQuantizationType[kind]
        w.add_tensor(kind, np.full((1, gguf.GGML_QUANT_SIZES[qtype][1]), 7, np.uint8), raw_dtype=qtype)
    to_gguf.finish(w)
    w = writer("tokens.gguf")
    add_tokens(w)
    to_gguf.finish(w)
    w = writer("other.gguf", "llama")
    to_gguf.finish(w)
    w = writer("split.gguf")
    w.add_uint16("split.count", 2)
    w.add_custom_alignment(64)
    w.add_array("list", [1.5, 2.5])
    to_gguf.finish(w)


main()
