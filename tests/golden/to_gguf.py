"""Writes model directories as GGUF files with the `gguf` package, as converters do it."""
import json
import struct

import gguf
import numpy as np

NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
         "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
         "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}
ARRAYS = {"F32": np.float32, "F16": np.float16}


def hf_to_gguf(name):
    stem = name.removesuffix(".weight")
    if stem.startswith("model.layers."):
        _, _, layer, rest = stem.split(".", 3)
        return f"blk.{layer}.{NAMES[rest]}.weight"
    return NAMES[stem] + ".weight"


def gguf_to_hf(name):
    back = {v: k for k, v in NAMES.items()}
    stem = name.removesuffix(".weight")
    if stem.startswith("blk."):
        _, layer, rest = stem.split(".", 2)
        return f"model.layers.{layer}.{back[rest]}.weight"
    return back[stem] + ".weight"


def tensors(directory):
    """(name, float32 values) of every tensor in its *.safetensors."""
    for path in sorted(directory.glob("*.safetensors")):
        raw = path.read_bytes()
        n = struct.unpack_from("<Q", raw)[0]
        for name, t in json.loads(raw[8:8 + n]).items():
            if name == "__metadata__":
                continue
            bits = raw[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]]
            if t["dtype"] == "BF16":
                values = (np.frombuffer(bits, np.uint16).astype(np.uint32) << 16).view(np.float32)
            else:
                values = np.frombuffer(bits, ARRAYS[t["dtype"]]).astype(np.float32)
            yield name, values.reshape(t["shape"])


def add_tokenizer(writer, tokenizer_json, n_tokens, template=None):
    """As llama.cpp's converter does it for Qwen: ids without a token are padding."""
    t = json.loads(tokenizer_json.read_text())
    vocab = {i: s for s, i in t["model"]["vocab"].items()}
    added = {a["id"]: a for a in t["added_tokens"]}
    kinds = gguf.TokenType
    tokens, types = [], []
    for i in range(n_tokens):
        if i in added:
            tokens.append(added[i]["content"])
            types.append(kinds.CONTROL if added[i]["special"] else kinds.USER_DEFINED)
        elif i in vocab:
            tokens.append(vocab[i])
            types.append(kinds.NORMAL)
        else:
            tokens.append(f"[PAD{i}]")
            types.append(kinds.UNUSED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in t["model"]["merges"]])
    writer.add_add_bos_token(False)
    if template:
        writer.add_chat_template(template)


def add_config(writer, c):
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    writer.add_head_count_kv(c["num_key_value_heads"])
    writer.add_key_length(c["head_dim"])
    writer.add_value_length(c["head_dim"])
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_rope_freq_base(float(c["rope_theta"]))


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def convert(directory, out, kind="BF16", more=lambda writer: None):
    """The whole directory; matrices as kind, vectors as float32, as converters do it."""
    c = json.loads((directory / "config.json").read_text())
    w = gguf.GGUFWriter(out, "qwen3")
    add_config(w, c)
    add_tokenizer(w, directory / "tokenizer.json", c["vocab_size"],
                  (directory / "chat_template.jinja").read_text())
    more(w)
    qtype = gguf.GGMLQuantizationType[kind]
    for name, values in tensors(directory):
        if values.ndim == 1:
            w.add_tensor(hf_to_gguf(name), values)
        else:
            w.add_tensor(hf_to_gguf(name), gguf.quants.quantize(values, qtype), raw_dtype=qtype)
    finish(w)
    return out
