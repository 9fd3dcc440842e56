"""A small repository, as those of the family look."""
import json
import pathlib
import struct

REPO = "Qwen/Tiny-Guard-0.6B"


def shard(name, n):
    """A safetensors file of one tensor of n bytes."""
    data = bytes((i * 2654435761 >> 13) & 255 for i in range(min(n, 65536)))
    data = (data * (n // len(data) + 1))[:n] if n else b""
    head = json.dumps({name: {"dtype": "U8", "shape": [n], "data_offsets": [0, n]}}).encode()
    return struct.pack("<Q", len(head)) + head + data


def model_files(n=9 << 20):
    """A repository as those of the family look: two shards, and files that nobody needs."""
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors",
                                            "b": "model-00002-of-00002.safetensors"}}
    return {
        ".gitattributes": b"*.safetensors filter=lfs\n",
        "README.md": b"# Tiny\n",
        "config.json": b'{"model_type":"qwen3"}\n',
        "generation_config.json": b"{}\n",
        "tokenizer.json": b'{"model":{"type":"BPE"}}' + b" " * 70000,
        "tokenizer_config.json": b'{"chat_template":"x"}\n',
        "model.safetensors.index.json": json.dumps(index).encode(),
        "model-00001-of-00002.safetensors": shard("a", n),
        "model-00002-of-00002.safetensors": shard("b", 100000),
        "pytorch_model.bin": b"\x80" * 9000,
        "code/modeling.py": b"print()\n",
        "extra/notes.txt": b"notes\n",
    }


NEEDED = sorted(p for p in model_files(1) if "/" not in p and
                p not in (".gitattributes", "README.md", "pytorch_model.bin"))


def tree(folder):
    """{path: bytes} of the files under folder, links followed."""
    folder = pathlib.Path(folder)
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
