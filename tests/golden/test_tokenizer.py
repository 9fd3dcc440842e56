"""The tokenizer beside the reference (PyPI `tokenizers`) on texts too many to keep as goldens."""
import random
import struct
import subprocess

import pytest

tokenizers = pytest.importorskip("tokenizers")


@pytest.fixture(scope="session")
def real(shared):
    return shared / "model" / "tokenizer" / "tokenizer.json"


@pytest.fixture(scope="session")
def reference(real):
    return tokenizers.Tokenizer.from_file(str(real))


@pytest.fixture(scope="session")
def ours(qguard, real):
    program = qguard.parent / "tests" / "golden" / "tok_ids"

    def encode(texts, path=real, mode="parse"):
        frames = b"".join(struct.pack("=I", len(b)) + b for b in (t.encode() for t in texts))
        done = subprocess.run([program, path, mode], input=frames, capture_output=True, timeout=150)
        assert done.returncode == 0, done.stderr.decode()
        out, at = [], 0
        for _ in texts:
            n = struct.unpack_from("=I", done.stdout, at)[0]
            out.append(list(struct.unpack_from(f"={n}i", done.stdout, at + 4)))
            at += 4 + 4 * n
        assert at == len(done.stdout)
        return out

    return encode


def compare(texts, got, reference):
    for i in range(0, len(texts), 20000):
        some = texts[i:i + 20000]
        want = [e.ids for e in reference.encode_batch_fast(some, add_special_tokens=False)]
        wrong = [(ascii(t), g, w) for t, g, w in zip(some, got[i:], want) if g != w]
        assert not wrong, f"{len(wrong)} of {len(some)} differ, first: {wrong[:3]}"


def code_points():
    return [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def test_every_code_point(ours, reference):
    texts = code_points()
    compare(texts, ours(texts), reference)


@pytest.mark.parametrize("before, after", [("a", "b'"), (" ", "\u0301\n")])
def test_every_assigned_code_point_between_others(ours, reference, before, after):
    texts = [before + c + after for c in code_points() if ord(c) < 0x32400 or 0xE0000 <= ord(c) < 0xE0200]
    compare(texts, ours(texts), reference)


ALPHABETS = {
    "white space and punctuation": " \t\n\r\v\f\u00a0\u2003\u3000\u0085..,!'\"-<|>a1\u0301\u200b",
    "contractions": "''''sStTmMdDlLrReEvV\u017f\u212a\u2019 x1.\n",
    "combining": "ae\u0300\u0301\u0323\u0327\u0344\u1e69\u0958\u093c\u0915\u1100\u1161\u11a8\uac00\uac01\u09c7\u09be\u0338=<>",
    "scripts": "abcXYZ\u00e9\u00df\u0416\u0436\u05d0\u0627\u0644\u0652\u0915\u094d\u0e01\u0e33\u4f60\u597d\u3042\u30ab\ud55c\U0001f600\u200d\ufe0f\U00020000 12\u0661.\n",
    "almost control tokens": ["<|im_end|>", "<|im_end|", "<|im_", "<think>", "</think", ">", "<", "|", " ", "\n", "a", "\u0338"],
}


@pytest.mark.parametrize("name", ALPHABETS)
def test_random_texts(ours, reference, name):
    rng = random.Random(name)
    texts = ["".join(rng.choices(ALPHABETS[name], k=rng.randint(1, 24))) for _ in range(20000)]
    texts += ["".join(rng.choices(ALPHABETS[name], k=rng.randint(200, 900))) for _ in range(40)]
    compare(texts, ours(texts), reference)


def test_random_code_points(ours, reference):
    rng = random.Random(7)
    every = code_points()
    texts = ["".join(rng.choices(every[:0x3400], k=rng.randint(1, 12))) for _ in range(20000)]
    compare(texts, ours(texts), reference)


def test_long_pieces(ours, reference):
    """Longer than the pieces that are merged without a heap, of words run together."""
    rng = random.Random(11)
    words = "the quick brown fox jumps over lazy dogs international guard safety 你好 世界 привет".split()
    texts = ["".join(rng.choices(words, k=rng.randint(5, 400))) for _ in range(300)]
    texts += [unit * n for unit in ("a", "ab", " ", "\n", "=", "好", "\u0301") for n in (31, 32, 33, 64, 257, 5000)]
    compare(texts, ours(texts), reference)


def test_a_tokenizer_just_trained(ours, tmp_path):
    """As the trainer of the package writes it: specials first, fewer keys, two added tokens of each kind."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=["<|end|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator([test_long_pieces.__doc__, __doc__, pattern] * 3, trainer)
    t.add_tokens(["<tool>", "<to", AddedToken("the", normalized=False)])
    path = tmp_path / "tokenizer.json"
    t.save(str(path))
    rng = random.Random(3)
    parts = ["<|end|>", "<tool>", "<to", "the", "other", "o\u0308l", "<tool>\u0338", " ", "\n", "'s", "7"]
    texts = ["".join(rng.choices(parts, k=rng.randint(1, 20))) for _ in range(5000)]
    compare(texts, ours(texts, path), t)
