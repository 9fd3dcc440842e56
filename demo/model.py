"""Qwen3ForCausalLM and Qwen3ForGuardModel as small torch modules, and their safetensors reader and writer."""

import json
import math
import struct
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import labels

GUARD_INNER = 128
# The embedding has a file of its own, which the Gen and the Stream model share.
EMBEDDING, SHARDS = "model.embed_tokens.weight", ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def config(vocab_size, hidden=256, intermediate=640, layers=4, heads=4, kv_heads=2, head_dim=64):
    """config.json; the five added tokens are the last ids of the vocabulary."""
    end, start, turn_end = vocab_size - 5, vocab_size - 4, vocab_size - 3
    assert start < turn_end
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": end,
        "eos_token_id": turn_end,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": intermediate,
        "max_position_embeddings": 8192,
        "max_window_layers": layers,
        "model_type": "qwen3",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "pad_token_id": end,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 10000,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": vocab_size,
    }


def guard_config(c):
    """config.json of the Stream model on the backbone of c."""
    names = list(labels.STREAM_NAMES.values())
    risks = labels.SEVERITIES
    def table(v):
        return {str(i): name for i, name in enumerate(v)}
    return {**c, "architectures": ["Qwen3ForGuardModel"], "guard_inner_size": GUARD_INNER,
            "num_risk_level": len(risks), "num_category": len(names) - 1,
            "num_query_risk_level": len(risks), "num_query_category": len(names),
            "response_risk_level_map": table(risks), "response_category_map": table(names[:-1]),
            "query_risk_level_map": table(risks), "query_category_map": table(names), "use_cache": False}


def generation_config(c):
    return {"bos_token_id": c["bos_token_id"], "do_sample": False,
            "eos_token_id": [c["eos_token_id"], c["pad_token_id"]], "pad_token_id": c["pad_token_id"],
            "transformers_version": "4.51.0"}


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv, self.dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        h = c["hidden_size"]
        self.q_proj = nn.Linear(h, self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(h, self.kv * self.dim, bias=False)
        self.v_proj = nn.Linear(h, self.kv * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, h, bias=False)
        self.q_norm = Norm(self.dim, c["rms_norm_eps"])
        self.k_norm = Norm(self.dim, c["rms_norm_eps"])

    def forward(self, x, cos, sin):
        b, n, _ = x.shape
        q = self.q_norm(self.q_proj(x).view(b, n, self.heads, self.dim)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(b, n, self.kv, self.dim)).transpose(1, 2)
        v = self.v_proj(x).view(b, n, self.kv, self.dim).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        group = self.heads // self.kv
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, n, -1))


def rotate(x, cos, sin):
    """The first half of a head is rotated against the second half."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        h, i = c["hidden_size"], c["intermediate_size"]
        self.gate_proj = nn.Linear(h, i, bias=False)
        self.up_proj = nn.Linear(h, i, bias=False)
        self.down_proj = nn.Linear(i, h, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c, dropout):
        super().__init__()
        self.input_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = Mlp(c)
        self.dropout = dropout

    def forward(self, x, cos, sin):
        x = x + F.dropout(self.self_attn(self.input_layernorm(x), cos, sin), self.dropout, self.training)
        return x + F.dropout(self.mlp(self.post_attention_layernorm(x)), self.dropout, self.training)


class Backbone(nn.Module):
    def __init__(self, c, dropout):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c, dropout) for _ in range(c["num_hidden_layers"]))
        self.norm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.dropout = dropout
        angle = c["rope_theta"] ** (-torch.arange(0, c["head_dim"], 2, dtype=torch.float64) / c["head_dim"])
        angle = torch.arange(c["max_position_embeddings"], dtype=torch.float64)[:, None] * angle
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)

    def forward(self, ids):
        n = ids.shape[1]
        x = F.dropout(self.embed_tokens(ids), self.dropout, self.training)
        cos, sin = self.cos[:n], self.sin[:n]
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)


class Qwen3(nn.Module):
    """forward(ids [b, n]) gives hidden states [b, n, h]; logits(h) multiplies by the tied embedding."""

    def __init__(self, c, dropout=0.0):
        super().__init__()
        self.model = Backbone(c, dropout)
        self.apply(lambda m: self.start(m, c))

    @staticmethod
    def start(m, c):
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=m.in_features ** -0.5)
        elif isinstance(m, nn.Embedding):
            nn.init.normal_(m.weight, std=0.05)
        if isinstance(m, Layer):
            for w in (m.self_attn.o_proj.weight, m.mlp.down_proj.weight):
                with torch.no_grad():
                    w.mul_(1 / math.sqrt(2 * c["num_hidden_layers"]))

    def forward(self, ids):
        return self.model(ids)

    def logits(self, h):
        return h @ self.model.embed_tokens.weight.to(h.dtype).T


class Guard(nn.Module):
    """forward(ids [b, n]) gives hidden states [b, n, h]; response(h) and query(h) give logits of risk and category."""

    def __init__(self, c, dropout=0.0):
        super().__init__()
        hidden, inner = c["hidden_size"], c["guard_inner_size"]
        self.model = Backbone(c, dropout)
        self.risk_level_category_pre = nn.Linear(hidden, inner, bias=False)
        self.risk_level_category_layernorm = Norm(inner, c["rms_norm_eps"])
        self.risk_level_head = nn.Linear(inner, c["num_risk_level"], bias=False)
        self.category_head = nn.Linear(inner, c["num_category"], bias=False)
        self.query_risk_level_category_pre = nn.Linear(hidden, inner, bias=False)
        self.query_risk_level_category_layernorm = Norm(inner, c["rms_norm_eps"])
        self.query_risk_level_head = nn.Linear(inner, c["num_query_risk_level"], bias=False)
        self.query_category_head = nn.Linear(inner, c["num_query_category"], bias=False)

    def forward(self, ids):
        return self.model(ids)

    def inner(self, h):
        """Inputs of the response and of the query heads."""
        return (self.risk_level_category_layernorm(self.risk_level_category_pre(h)),
                self.query_risk_level_category_layernorm(self.query_risk_level_category_pre(h)))

    def response(self, h):
        x = self.inner(h)[0]
        return self.risk_level_head(x), self.category_head(x)

    def query(self, h):
        x = self.inner(h)[1]
        return self.query_risk_level_head(x), self.query_category_head(x)


def save(state, path):
    """Writes float tensors as one bf16 safetensors file; names in sorted order, header padded to 8 bytes."""
    header, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name in sorted(state):
        blob = state[name].detach().to(torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes()
        header[name] = {"dtype": "BF16", "shape": list(state[name].shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def publish(m, c, folder, shared=None):
    """config.json and the weights in two files; the first is a link into the folder `shared` when that is given."""
    state = m.state_dict()
    rest = {n: t for n, t in state.items() if n != EMBEDDING}
    where = {n: SHARDS[n != EMBEDDING] for n in sorted(state)}
    (folder / "config.json").write_text(json.dumps(c, indent=2) + "\n")
    save(rest, folder / SHARDS[1])
    if shared is None:
        save({EMBEDDING: state[EMBEDDING]}, folder / SHARDS[0])
        (folder / "generation_config.json").write_text(json.dumps(generation_config(c), indent=2) + "\n")
        index = {"metadata": {"total_size": 2 * sum(t.numel() for t in state.values())}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
        return
    for name in (SHARDS[0], "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(Path("..") / shared.name / name)


def tensors(path):
    """The float32 tensors of one safetensors file."""
    raw = path.read_bytes()
    (n,) = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8:8 + n]), bytearray(raw[8 + n:])
    state = {}
    for name, info in header.items():
        if name != "__metadata__":
            a, b = info["data_offsets"]
            flat = torch.frombuffer(data, dtype=torch.bfloat16, count=(b - a) // 2, offset=a)
            state[name] = flat.view(info["shape"]).float()
    return state


def load(directory):
    """The published files as a float32 module ready for evaluation."""
    directory = Path(directory)
    c = json.loads((directory / "config.json").read_text())
    state = {}
    for path in directory.glob("*.safetensors"):
        state.update(tensors(path))
    m = Guard(c) if "guard_inner_size" in c else Qwen3(c)
    m.load_state_dict(state)
    return m.eval(), c
