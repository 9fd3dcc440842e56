#!/usr/bin/env python3
"""Write some 250 malformed model directories, the same ones on every run.

    make_malformed.py [--base DIR] [--seed N] OUT

--base: a Gen directory with one model.safetensors to be damaged (default: a tiny one made here).
OUT/cases.json maps each directory's name to what must come of it:

  "refuse"  opening fails: status 1 and a sentence
  "accept"  opening works (an odd directory, but a sound model)
  "either"  the damage may have hit weights only: never a crash, a sentence when it fails
  "text"    only tokenizer or template are bad: to be refused, but for what needs only the weights
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import struct

HUGE = [0, -1, 1 << 31, 1 << 32, 10**12, (1 << 63) - 1, 1 << 63, 10**40, 1.5, 1e308, "8", None, True, [], {}]
SIZES = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
         "num_key_value_heads", "head_dim", "max_position_embeddings"]
ABSENT = object()


def tiny_base():
    """A Gen model of a few thousand weights: {file name: bytes}."""
    config = {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "eos_token_id": 2, "head_dim": 8,
        "hidden_act": "silu", "hidden_size": 24, "intermediate_size": 40, "max_position_embeddings": 256,
        "model_type": "qwen3", "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 10000, "sliding_window": None,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_sliding_window": False, "vocab_size": 64}
    h, q, kv, inter = 24, 32, 16, 40
    shapes = {"model.embed_tokens.weight": [64, h], "model.norm.weight": [h]}
    for n in range(2):
        p = f"model.layers.{n}."
        shapes.update({
            p + "input_layernorm.weight": [h], p + "post_attention_layernorm.weight": [h],
            p + "self_attn.q_proj.weight": [q, h], p + "self_attn.k_proj.weight": [kv, h],
            p + "self_attn.v_proj.weight": [kv, h], p + "self_attn.o_proj.weight": [h, q],
            p + "self_attn.q_norm.weight": [8], p + "self_attn.k_norm.weight": [8],
            p + "mlp.gate_proj.weight": [inter, h], p + "mlp.up_proj.weight": [inter, h],
            p + "mlp.down_proj.weight": [h, inter]})
    rng, header, data = random.Random(7), {"__metadata__": {"format": "pt"}}, b""
    for name, shape in sorted(shapes.items()):
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        # bfloat16 between 2^-4 and 2^-2 in size, either sign
        words = [(rng.randrange(2) << 15) | (123 << 7) | rng.randrange(256) for _ in range(n)]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [len(data), len(data) + 2 * n]}
        data += struct.pack(f"<{n}H", *words)
    return {"config.json": json.dumps(config, indent=2).encode(), "model.safetensors": shard(header, data),
            "generation_config.json": b'{"eos_token_id": [2, 0]}'}


def shard(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


class Maker:
    def __init__(self, out, base, seed):
        self.out, self.base, self.cases = out, base, {}
        self.rng = random.Random(seed)
        raw = base["model.safetensors"]
        n = struct.unpack("<Q", raw[:8])[0]
        self.raw, self.header_end = raw, 8 + n
        self.header, self.data = json.loads(raw[8:8 + n]), raw[8 + n:]
        self.config = json.loads(base["config.json"])

    def put(self, name, expect, files):
        """files: {name: bytes, or None to leave it out, or a function that makes something odd at a path}."""
        assert name not in self.cases, name
        folder = self.out / name
        folder.mkdir()
        for file, content in {**self.base, **files}.items():
            if callable(content):
                content(folder / file)
            elif content is not None:
                (folder / file).write_bytes(content)
        self.cases[name] = expect

    def put_config(self, name, expect, **change):
        config = {**self.config, **change}
        text = json.dumps({k: v for k, v in config.items() if v is not ABSENT})
        self.put(name, expect, {"config.json": text.encode()})

    def put_header(self, name, expect, change, data=None):
        """change gets a deep copy of the header and alters it."""
        header = json.loads(json.dumps(self.header))
        change(header)
        self.put(name, expect, {"model.safetensors": shard(header, self.data if data is None else data)})

    def flip(self, data, bit):
        data = bytearray(data)
        data[bit // 8] ^= 1 << bit % 8
        return bytes(data)


def lying_sizes(m):
    for key in SIZES:
        for i, value in enumerate([ABSENT] + HUGE):
            if key == "head_dim" and value is ABSENT:
                m.put_config("config-head_dim-absent", "accept" if m.config[key] == 128 else "refuse", head_dim=ABSENT)
            elif key == "head_dim" and value is None:
                m.put_config("config-head_dim-null", "accept" if m.config[key] == 128 else "refuse", head_dim=None)
            else:
                m.put_config(f"config-{key}-{i}", "refuse", **{key: value})
        if key != "max_position_embeddings":
            m.put_config(f"config-{key}-plus", "refuse", **{key: m.config[key] + 1})
            m.put_config(f"config-{key}-twice", "refuse", **{key: m.config[key] * 2})


def config_values(m):
    refused = {
        "rms_norm_eps": [ABSENT, 0, -1e-6, 5, 1e-300, "1e-6", None, True, [1e-6]],
        "rope_theta": [ABSENT, 0, -1e4, 1e300, "1e4", None],
        "rope_scaling": [{"type": "yarn", "factor": 4.0}, {"rope_type": "linear"}, 1, "default"],
        "rope_parameters": [{"rope_type": "llama3"}, [], {"rope_theta": 3}],
        "architectures": [ABSENT, [], ["LlamaForCausalLM"], ["Qwen3ForGuardModel"], "Qwen3ForCausalLM", [None], [["x"]]],
        "model_type": ["llama", 7],
        "attention_bias": [True, "false"],
        "use_sliding_window": [True],
        "hidden_act": ["gelu", 0],
        "quantization_config": [{"quant_method": "awq"}],
        "layer_types": [[], ["full_attention"] * 99, ["sliding_attention"] * m.config["num_hidden_layers"], "x"],
        "tie_word_embeddings": ["true", 1],
        "torch_dtype": ["int8", 16],
        "partial_rotary_factor": [0.5],
    }
    for key, values in refused.items():
        for i, value in enumerate(values):
            m.put_config(f"config-{key}-{i}", "refuse", **{key: value})
    m.put_config("config-unknown-key", "accept", a_key_of_the_future={"x": [1, None]})
    for i, value in enumerate([-1, 10**9, "2", [1.5], [[2]], list(range(40)), {"a": 1}]):
        m.put(f"generation-eos-{i}", "refuse", {"generation_config.json": json.dumps({"eos_token_id": value}).encode()})


def broken_text(m):
    good = m.base["config.json"]
    texts = {
        "empty": b"", "blank": b"  \n", "nul": b"\0", "brace": b"{", "array": b"[]", "null": b"null", "word": b"config",
        "twice": good + good, "bom": b"\xef\xbb\xbf" + good, "utf16": good.decode().encode("utf-16"),
        "latin1": good.replace(b'"silu"', b'"silu\xe9"'), "surrogate": good.replace(b'"silu"', b'"\\ud800"'),
        "duplicate": b'{"vocab_size": 4,' + good.lstrip()[1:], "deep": b'{"a":' * 5000 + b"1" + b"}" * 5000,
        "deep-array": b'{"a":' + b"[" * 100000, "long-number": good.replace(b"{", b'{"n": ' + b"9" * 5000 + b",", 1),
        "nan": good.replace(b"{", b'{"rms_norm_eps": NaN,', 1), "comment": b"// x\n" + good,
        "comma": good.rstrip()[:-1] + b",}", "nul-inside": good.replace(b"silu", b"si\0lu"),
        "escaped-nul": good.replace(b"silu", b"silu\\u0000"), "big": b'{"a":"' + b"x" * (2 << 20) + b'"}'}
    for name, text in texts.items():
        m.put(f"config-text-{name}", "refuse", {"config.json": text})
        if name in ("empty", "brace", "array", "deep", "nul"):
            m.put(f"generation-text-{name}", "refuse", {"generation_config.json": text})
            m.put(f"header-text-{name}", "refuse", {"model.safetensors": shard(text, m.data)})
    for i in range(12):
        m.put(f"config-cut-{i}", "refuse", {"config.json": good[:m.rng.randrange(len(good.rstrip()))]})
    for i in range(16):
        m.put(f"config-flip-{i}", "either", {"config.json": m.flip(good, m.rng.randrange(8 * len(good)))})


def damaged_shard(m):
    raw, end = m.raw, m.header_end
    cuts = [0, 1, 7, 8, 9, end // 2, end - 1, end, end + 1, len(raw) // 2, len(raw) - 2, len(raw) - 1]
    cuts += [m.rng.randrange(len(raw)) for _ in range(12)]
    for i, n in enumerate(cuts):
        m.put(f"shard-cut-{i}", "refuse", {"model.safetensors": raw[:n]})
    for i, more in enumerate([b"\0", b"\0" * 4096, raw]):
        m.put(f"shard-longer-{i}", "refuse", {"model.safetensors": raw + more})
    for i, n in enumerate([0, 1, end - 9, end - 7, len(raw) - 8, len(raw) - 7, 1 << 20, 1 << 31, 1 << 32, 1 << 62, (1 << 64) - 8,
                           (1 << 64) - 1]):
        m.put(f"shard-header-length-{i}", "refuse", {"model.safetensors": struct.pack("<Q", n) + raw[8:]})
    for i in range(40):
        m.put(f"shard-header-flip-{i}", "either",
              {"model.safetensors": m.flip(raw, 64 + m.rng.randrange(8 * (end - 8)))})
    for i in range(4):
        m.put(f"shard-data-flip-{i}", "either",
              {"model.safetensors": m.flip(raw, 8 * end + m.rng.randrange(8 * (len(raw) - end)))})
    for i in range(4):
        noise = bytes(m.rng.randrange(256) for _ in range(512))
        m.put(f"shard-noise-{i}", "refuse", {"model.safetensors": noise})
    m.put("shard-infinite", "either", {"model.safetensors": raw[:end] + b"\x80\x7f" * (len(m.data) // 2)})
    m.put("shard-zero", "either", {"model.safetensors": raw[:end] + bytes(len(m.data))})


def lying_headers(m):
    names = sorted(k for k in m.header if k != "__metadata__")
    a, b = names[0], names[1]
    last = max(names, key=lambda n: m.header[n]["data_offsets"][1])

    def entry(name, **change):
        def alter(header):
            header[name].update(change)
        return alter

    at = m.header[a]["data_offsets"]
    shape = m.header[a]["shape"]
    for i, pair in enumerate([[at[0], at[1] + 2], [at[0] + 2, at[1]], [at[0] + 2, at[1] + 2], [at[1], at[0]], [-2, at[1]], [at[0]],
                              [at[0], at[1], 0], at[0], None, "0", [0.0, 2.0], [0, 1 << 62], [(1 << 63) - 8, (1 << 63) - 1],
                              [0, 1 << 64], m.header[b]["data_offsets"]]):
        m.put_header(f"offsets-{i}", "refuse", entry(a, data_offsets=pair))
    for i, value in enumerate([shape[::-1] + [2], [shape[0] + 1] + shape[1:], [-shape[0]] + shape[1:], [0], [], [1] * 5 + shape,
                               [1 << 32, 1 << 32], [1 << 62, 4], [(1 << 63) - 1], [1 << 64], "x", None, [None], [[2]], [2.0],
                               {"0": 2}]):
        m.put_header(f"shape-{i}", "refuse", entry(a, shape=value))
    for i, value in enumerate(["F32", "F64", "I8", "U8", "BOOL", "I64", "F8_E4M3", "bf16", "BF16 ", "", None, 3, ["BF16"]]):
        m.put_header(f"dtype-{i}", "refuse", entry(a, dtype=value))
    m.put_header("shape-transposed", "refuse", entry("model.layers.0.mlp.up_proj.weight", shape=m.header[
        "model.layers.0.mlp.up_proj.weight"]["shape"][::-1]))
    m.put_header("entry-number", "refuse", lambda h: h.update({a: 7}))
    m.put_header("entry-null", "refuse", lambda h: h.update({a: None}))
    m.put_header("entry-empty", "refuse", lambda h: h.update({a: {}}))
    m.put_header("metadata-number", "refuse", lambda h: h.update({"__metadata__": 7}))
    m.put_header("metadata-nested", "refuse", lambda h: h.update({"__metadata__": {"a": {}}}))
    m.put_header("metadata-absent", "accept", lambda h: h.pop("__metadata__", None))
    m.put_header("name-empty", "refuse", lambda h: h.update({"": h.pop(a)}))
    m.put_header("name-long", "refuse", lambda h: h.update({"x" * 5000: h.pop(a)}))
    m.put_header("name-control", "refuse", lambda h: h.update({"a\n\x1b[31m": h.pop(a)}))
    m.put_header("swapped-names", "refuse", lambda h: h.update({"model.norm.weight": h["model.embed_tokens.weight"],
                                                               "model.embed_tokens.weight": h["model.norm.weight"]}))
    many = {f"t{i}": {"dtype": "BF16", "shape": [0], "data_offsets": [0, 0]} for i in range(70000)}
    m.put("many-tensors", "refuse", {"model.safetensors": shard(many, b"")})
    text = json.dumps(m.header).encode()
    key = json.dumps(a).encode()
    m.put("duplicate-key", "refuse", {"model.safetensors": shard(text[:-1] + b", " + key + b": " + json.dumps(
        m.header[a]).encode() + b"}", m.data)})
    for i, name in enumerate([last, "model.embed_tokens.weight", "model.norm.weight", "model.layers.1.self_attn.q_norm.weight"]):
        m.put(f"missing-{i}", "refuse", {"model.safetensors": without(m, name)})
    for i, (name, shape) in enumerate([("model.layers.0.self_attn.q_proj.bias", [4]), ("extra", [1]), ("model.layers.99.x", [2]),
                                       ("model.layers.01.mlp.up_proj.weight", [2]), ("lm_head.weight", [3, 3]),
                                       ("model.embed_tokens.weight ", [1]), ("model.layers.4294967296.x", [1]), ("scalar", [])]):
        count = 1
        for d in shape:
            count *= d
        m.put_header(f"surplus-{i}", "refuse", lambda h, name=name, shape=shape, count=count: h.update({name: {
            "dtype": "BF16", "shape": shape, "data_offsets": [len(m.data), len(m.data) + 2 * count]}}), m.data + bytes(2 * count))


def without(m, gone):
    """The shard without one tensor, otherwise sound."""
    header, data = {}, b""
    for name, e in sorted((k, v) for k, v in m.header.items() if k not in ("__metadata__", gone)):
        lo, hi = e["data_offsets"]
        header[name] = {**e, "data_offsets": [len(data), len(data) + hi - lo]}
        data += m.data[lo:hi]
    return shard(header, data)


def odd_files(m):
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        short = name.split(".")[0]
        m.put(f"file-{short}-folder", "refuse", {name: lambda p: p.mkdir()})
        m.put(f"file-{short}-fifo", "refuse", {name: os.mkfifo})
        m.put(f"file-{short}-dangling", "refuse", {name: lambda p: p.symlink_to("nowhere")})
        m.put(f"file-{short}-loop", "refuse", {name: lambda p: p.symlink_to(p.name)})
        m.put(f"file-{short}-device", "refuse", {name: lambda p: p.symlink_to("/dev/zero")})
        m.put(f"file-{short}-empty", "refuse", {name: b""})
        m.put(f"file-{short}-absent", "accept" if short == "generation_config" else "refuse", {name: None})
    m.put("file-all-absent", "refuse", {name: None for name in m.base})
    m.put("twice-in-two-files", "refuse", {"consolidated.safetensors": m.raw})
    m.put("second-shard-empty", "refuse", {"model-00002.safetensors": b""})
    m.put("second-shard-of-nothing", "accept", {"model-00002.safetensors": shard({}, b"")})
    m.put("hidden-rubbish", "accept", {"._model.safetensors": b"rubbish"})
    m.put("pytorch-only", "refuse", {"model.safetensors": None, "pytorch_model.bin": b"PK"})
    for i, text in enumerate([b"", b"{", b"[]", b'{"weight_map": 3}', b'{"weight_map": {"a": "b"}}', b"\xff" * 100]):
        m.put(f"index-{i}", "accept", {"model.safetensors.index.json": text})
    m.put("index-folder", "accept", {"model.safetensors.index.json": lambda p: p.mkdir()})


def bad_text(m):
    texts = {"tokenizer.json": [b"", b"{}", b"[", b"\xff", b'{"model": {"type": "Unigram"}}', lambda p: p.mkdir(), os.mkfifo],
             "chat_template.jinja": [b"\xff\xfe", b"{% for x in", b"{{ 1", b"{% nothing %}", b"{{ x|no_such_filter }}",
                                     b"x" * (2 << 20), b"{{" + b"(" * 20000, lambda p: p.mkdir()],
             "tokenizer_config.json": [b"", b"[]", b'{"chat_template": 3}', b'{"chat_template": [{"name": "tool_use", "template": "x"}]}',
                                       b'{"chat_template": "{% if %}"}'],
             "chat_template.json": [b"{", b'{"chat_template": {}}']}
    for file, contents in texts.items():
        for i, content in enumerate(contents):
            m.put(f"text-{file}-{i}", "text", {file: content})


def make(out, base_dir=None, seed=1):
    """Returns {name: expectation}; out is made anew."""
    out = pathlib.Path(out)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    base = tiny_base()
    if base_dir:
        base = {name: (pathlib.Path(base_dir) / name).read_bytes() for name in base}
    m = Maker(out, base, seed)
    m.put("sound", "accept", {})
    for part in (lying_sizes, config_values, broken_text, damaged_shard, lying_headers, odd_files, bad_text):
        part(m)
    (out / "cases.json").write_text(json.dumps(m.cases, indent=1))
    return m.cases


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("out")
    args = parser.parse_args()
    print(f"{len(make(args.out, args.base, args.seed))} directories")
