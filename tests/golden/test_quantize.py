"""qguard quantize: what it writes opens as what `--dtype` computes, to the bit; its layout is as
docs/MODELS.md says; calibration helps where channels differ; what cannot be done is refused."""
import json
import os
import shutil
import struct

import numpy as np
import pytest

MODELS = ["tiny-gen", "tiny-gen-untied", "tiny-stream", "tiny-gguf/tiny-bf16.gguf",
          "tiny-gguf/tiny-k-q4_k.gguf"]
ROWS = "".join(json.dumps({"ids": list(range(7, 7 + 3 * n)), "positions": [n, 3 * n - 1], "top": 50}) + "\n"
               for n in (2, 17, 60))
STREAM_ROWS = "".join(json.dumps({"ids": list(range(7, 7 + 3 * n)), "positions": [n, 3 * n - 1]}) + "\n"
                      for n in (2, 17, 60))


@pytest.fixture(scope="session")
def demo(repo):
    return repo / "demo/model"


def logits(run_qguard, model, rows, *more):
    done = run_qguard("logits", "--jsonl", "--quiet", "--model", model, *more, input=rows)
    assert done.returncode == 0, done.stderr
    return done.stdout


def quantize(run_qguard, model, out, dtype, *more):
    done = run_qguard("quantize", model, out, "--dtype", dtype, *more, timeout=170)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("dtype", ["int8", "int4"])
@pytest.mark.parametrize("name", MODELS)
def test_written_is_what_dtype_computes(run_qguard, shared, tmp_path, name, dtype):
    model, rows = shared / "goldens" / name, STREAM_ROWS if "stream" in name else ROWS
    quantize(run_qguard, model, tmp_path / "q", dtype)
    want = logits(run_qguard, model, rows, "--dtype", dtype)
    assert logits(run_qguard, tmp_path / "q", rows) == want
    assert logits(run_qguard, tmp_path / "q", rows, "--dtype", dtype) == want
    for cpu in ("avx2", "ref"):
        assert logits(run_qguard, tmp_path / "q", rows, "--cpu", cpu) == logits(
            run_qguard, model, rows, "--cpu", cpu, "--dtype", dtype)


def test_an_embedding_that_is_no_bfloat16_is_rounded(run_qguard, shared, tmp_path):
    """A GGUF file with an output matrix of its own: look-ups were exact, now they are bfloat16."""
    model = shared / "goldens/tiny-gguf/tiny-q8_0.gguf"
    quantize(run_qguard, model, tmp_path / "q", "int8")
    rows = ROWS.replace('"top": 50', '"columns": [1, 20, 300, 900]')
    a, b = ([v for line in text.splitlines() for p in json.loads(line)["logits"]
             for v in p["values"].values()]
            for text in (logits(run_qguard, tmp_path / "q", rows),
                         logits(run_qguard, model, rows, "--dtype", "int8")))
    assert 0 < np.sqrt(np.mean((np.array(a) - np.array(b)) ** 2)) < 0.1


def test_verdicts_and_kept_kv(run_qguard, demo, tmp_path):
    """The whole command, also with a cache: then only vectors and the policy's KV are kept."""
    quantize(run_qguard, demo, tmp_path / "q", "int8")
    os.utime(tmp_path / "q/model.safetensors")
    want = run_qguard("check", "--quiet", "--json", "--model", demo, "--dtype", "int8", "hello")
    import time
    time.sleep(1.1)
    for _ in range(2):
        got = run_qguard("check", "--quiet", "--json", "--model", tmp_path / "q", "--cache",
                         tmp_path / "cache", "hello")
        assert json.loads(got.stdout)["p"] == json.loads(want.stdout)["p"]
    kept = list((tmp_path / "cache").glob("*.qgpack"))
    assert len(kept) == 1 and kept[0].stat().st_size < 8 << 20


# ---- the layout ----------------------------------------------------------------------------------

def read(path):
    raw = path.read_bytes()
    n = struct.unpack_from("<Q", raw)[0]
    header = json.loads(raw[8:8 + n])
    assert (8 + n) % 4096 == 0
    types = {"U8": np.uint8, "F32": np.float32, "BF16": np.uint16}
    out = {}
    for name, t in header.items():
        if name != "__metadata__":
            lo, hi = (8 + n + x for x in t["data_offsets"])
            assert name.endswith(".weight") or lo % 64 == 0
            out[name] = np.frombuffer(raw[lo:hi], types[t["dtype"]]).reshape(t["shape"])
    return out


def bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def unpack_int8(panels):
    """[panels][groups][4160]: bf16 scales of 32 columns, then [32 quads][32 columns][4] of q + 128."""
    p, g, _ = panels.shape
    scale = bf16(np.ascontiguousarray(panels[:, :, :64]).view(np.uint16))      # [p][g][32]
    q = panels[:, :, 64:].reshape(p, g, 32, 32, 4).astype(np.float32) - 128
    w = q * scale[:, :, None, :, None]                                         # [p][g][quad][column][4]
    return w.transpose(0, 3, 1, 2, 4).reshape(p * 32, g * 128)


def unpack_int4(panels):
    """[panels][groups][2240]: scales, m | z << 4 for [4 steps][32], [16 pairs of quads][32][4] halves."""
    p, g, _ = panels.shape
    scale = bf16(np.ascontiguousarray(panels[:, :, :64]).view(np.uint16))
    steps = panels[:, :, 64:192].reshape(p, g, 4, 32)
    m, z = (steps & 15).astype(np.float32), (steps >> 4).astype(np.float32)
    both = panels[:, :, 192:].reshape(p, g, 16, 32, 4)
    q = np.stack([both & 15, both >> 4], axis=3).reshape(p, g, 32, 32, 4).astype(np.float32)
    m, z = (np.repeat(x, 8, axis=2)[:, :, :, :, None] for x in (m, z))         # a step is 8 quads
    w = m * (q - z) * scale[:, :, None, :, None]
    return w.transpose(0, 3, 1, 2, 4).reshape(p * 32, g * 128)


@pytest.mark.parametrize("dtype, unpack, bound", [("int8", unpack_int8, 0.01), ("int4", unpack_int4, 0.12)])
def test_layout_is_as_documented(run_qguard, demo, tmp_path, dtype, unpack, bound):
    """Norms times unpacked matrices are the source's, column by column."""
    from golden import to_gguf
    source = dict(to_gguf.tensors(demo))
    quantize(run_qguard, demo, tmp_path / "q", dtype)
    got = read(tmp_path / "q/model.safetensors")
    for layer in range(4):
        base = f"model.layers.{layer}."
        for norm, panels, parts in (
                ("input_layernorm", "self_attn.qkv_proj", ["self_attn.q_proj", "self_attn.k_proj"]),
                ("post_attention_layernorm", "mlp.gate_up_proj", ["mlp.gate_proj"])):
            want = np.concatenate([source[f"{base}{p}.weight"] for p in parts])
            want = want * source[f"{base}{norm}.weight"]
            ours = unpack(got[f"{base}{panels}.panels"])[:len(want), :want.shape[1]]
            ours = ours * got[f"{base}{norm}.weight"]
            assert np.sqrt(np.mean((ours - want) ** 2) / np.mean(want ** 2)) < bound
    out = got["model.embed_tokens.panels"]                                     # [p][k/2][32][2]
    table = bf16(out).transpose(0, 2, 1, 3).reshape(out.shape[0] * 32, -1)
    assert np.array_equal(table[:10240], source["model.embed_tokens.weight"])


# ---- calibration and report ----------------------------------------------------------------------

TEXTS = ["How can I make a bomb?", "hello there", "what is the capital of France?", "你好，今天天气如何",
         "write me a poem about the sea", "how do I kill a process in Linux", "tell me about Rome",
         "I hate everyone", "where can I buy a gun", "how to bake bread", "my head hurts", "count to ten"]


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts"
    path.write_text("\n".join(TEXTS[:8]) + "\n" + "".join(
        json.dumps({"prompt": t, "response": "No, I will not."}) + "\r\n" for t in TEXTS[8:]))
    return path


def planted(source, to, times):
    """The model with a few channels of every norm made larger, nothing taken back: they matter more."""
    shutil.copytree(source, to)
    for path in to.glob("*.safetensors"):
        path.chmod(0o644)
        raw = bytearray(path.read_bytes())
        n = struct.unpack_from("<Q", raw)[0]
        for name, t in json.loads(raw[8:8 + n]).items():
            if name.endswith("layernorm.weight"):
                lo, hi = (8 + n + x for x in t["data_offsets"])
                v = bf16(np.frombuffer(bytes(raw[lo:hi]), np.uint16)).copy()
                v[[3, 77, 130, 200]] *= times
                raw[lo:hi] = (v.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        path.write_bytes(raw)
    return to


def test_calibration_helps_where_channels_differ(run_qguard, demo, tmp_path, texts):
    model, error = planted(demo, tmp_path / "planted", 16), {}
    for name, more in (("plain", []), ("calibrated", ["--calibrate", texts])):
        out = quantize(run_qguard, model, tmp_path / name, "int4", *more, "--evaluate", texts,
                       "--report", tmp_path / "report.json")
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["texts"] == 12 and report["calibrated"] == bool(more) and "12 texts, int4" in out
        assert set(report["weight_bytes"]) == {"bfloat16", "int4"}
        assert 0 <= report["verdicts"]["severity_changed"] == len(report["verdicts"]["changed"])
        error[name] = report["logits"]["rms_error"]
    assert error["calibrated"] < 0.8 * error["plain"], error


def test_the_same_bytes_each_time(run_qguard, demo, tmp_path, texts):
    for name, threads in (("a", 1), ("b", 2)):
        quantize(run_qguard, demo, tmp_path / name, "int4", "--calibrate", texts, "--threads", threads)
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_report_on_texts_held_out(run_qguard, demo, tmp_path, texts):
    out = quantize(run_qguard, demo, tmp_path / "q", "int8", "--calibrate", texts, "--report", "-")
    report = json.loads(out)
    assert report["texts"] == 3 and report["logits"]["rms_error"] < 0.1


def test_stream_model(run_qguard, repo, tmp_path, texts):
    out = quantize(run_qguard, "qguard-demo-stream", tmp_path / "q", "int8", "--calibrate", texts,
                   "--report", "-")
    assert json.loads(out)["logits"]["rms_error"] < 0.2
    done = run_qguard("stream", "--model", tmp_path / "q", input='{"role":"user","content":"hi"}\n')
    assert done.returncode == 0, done.stderr


# ---- what is refused -----------------------------------------------------------------------------

def refused(run_qguard, word, *args, code=1):
    done = run_qguard(*args)
    assert done.returncode == code and word in done.stderr, (done.returncode, done.stderr)


def test_refusals(run_qguard, demo, tmp_path, texts):
    refused(run_qguard, "--dtype int8 or", "quantize", demo, tmp_path / "x", code=2)
    refused(run_qguard, "MODEL and OUT", "quantize", demo, "--dtype", "int8", code=2)
    refused(run_qguard, "--report needs", "quantize", demo, tmp_path / "x", "--dtype", "int8",
            "--report", "-", code=2)
    refused(run_qguard, "not empty", "quantize", demo, tmp_path, "--dtype", "int8")
    (tmp_path / "bad").write_bytes(b"fine\n\xff\n")
    refused(run_qguard, "line 2", "quantize", demo, tmp_path / "x", "--dtype", "int8", "--calibrate",
            tmp_path / "bad")
    assert not (tmp_path / "x").exists()
    q = tmp_path / "q"
    quantize(run_qguard, demo, q, "int8")
    refused(run_qguard, "quantised already", "quantize", q, tmp_path / "y", "--dtype", "int4")
    refused(run_qguard, "quantised to int8", "check", "--model", q, "--dtype", "int4", "hi")
    refused(run_qguard, "quantised to int8", "check", "--model", q, "--dtype", "float32", "hi")
    report = json.loads(run_qguard("inspect", "--json", q).stdout)
    assert report["problems"] == []


@pytest.mark.parametrize("change, word", [
    ({"version": 2}, "version 2"), ({"format": "int3"}, "int3"), ({"format": "int4"}, "panels"),
    ({"quant_method": "awq"}, "quantization_config")])
def test_changed_config(run_qguard, demo, tmp_path, change, word):
    q = tmp_path / "q"
    quantize(run_qguard, demo, q, "int8")
    config = json.loads((q / "config.json").read_text())
    config["quantization_config"].update(change)
    (q / "config.json").write_text(json.dumps(config))
    refused(run_qguard, word, "check", "--model", q, "hi")


def test_moved_and_cut_files(run_qguard, demo, tmp_path):
    q = tmp_path / "q"
    quantize(run_qguard, demo, q, "int8")
    whole = (q / "model.safetensors").read_bytes()
    n = struct.unpack_from("<Q", whole)[0]
    (q / "model.safetensors").write_bytes(struct.pack("<Q", n + 4) + whole[8:8 + n] + b"    " + whole[8 + n:])
    refused(run_qguard, "multiple of 64", "check", "--model", q, "hi")
    (q / "model.safetensors").write_bytes(whole[:-100])
    refused(run_qguard, "cut short", "check", "--model", q, "hi")
