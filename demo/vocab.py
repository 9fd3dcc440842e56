"""Trains the byte-level BPE vocabulary from the training texts and writes demo/model/tokenizer*.json.

    python demo/vocab.py --data DIR        # DIR holds prompts.jsonl.gz and responses.jsonl.gz
"""

import argparse
import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import labels
from data import read_rows

HERE = Path(__file__).resolve().parent
SIZE = 10240
# The pattern of Qwen2 and Qwen3, so that the same pre-tokenizer code serves the real models.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Repeated so often that every word of the template and of the answers becomes one token.
WORDS = ["user\nPROMPT\nUSER: ", "user\nRESPONSE\nUSER: ", "\n\nASSISTANT: ", "\n\nUSER: ", "assistant\n"]
REPEAT = 4000


def texts(rows):
    for row in rows:
        for m in row["messages"]:
            yield m["content"]
    for word in WORDS:
        for _ in range(REPEAT):
            yield word
    for severity in labels.SEVERITIES:
        for category in labels.CATEGORIES + (labels.NONE,):
            for refusal in labels.REFUSALS:
                for _ in range(REPEAT // 10):
                    yield labels.answer(severity, category, refusal)


def train(rows):
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
    ])
    tok.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tok.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    added = labels.CONTROL_TOKENS + labels.THINK_TOKENS
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE - len(added),
        min_frequency=2,
        max_token_length=24,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tok.train_from_iterator(texts(rows), trainer)
    layout = json.loads(tok.to_str())
    base = len(layout["model"]["vocab"])
    assert base + len(added) == SIZE, base
    layout["model"].update(continuing_subword_prefix="", end_of_word_suffix="", ignore_merges=False)
    layout["added_tokens"] = [
        {"id": base + i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": t in labels.CONTROL_TOKENS}
        for i, t in enumerate(added)
    ]
    return layout


def check(path):
    """The properties a verdict by forced continuation needs."""
    tok = Tokenizer.from_file(str(path))
    ids = lambda s: tok.encode(s, add_special_tokens=False).ids
    for group in (labels.SEVERITIES, labels.CATEGORIES + (labels.NONE,), labels.REFUSALS):
        first = [ids(" " + g)[0] for g in group]
        assert len(set(first)) == len(group), (group, first)
    for s in labels.SEVERITIES:
        for c in labels.CATEGORIES + (labels.NONE,):
            for r in labels.REFUSALS + (None,):
                apart = sum((ids(p) for p in labels.pieces(s, c, r)), [])
                assert ids(labels.answer(s, c, r)) == apart, (s, c, r)
                assert ids("<|im_start|>assistant\n" + labels.answer(s, c, r)) == ids("<|im_start|>assistant\n") + apart
    return tok


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--out", type=Path, default=HERE / "model")
    args = p.parse_args()
    layout = train(read_rows(args.data))
    path = args.out / "tokenizer.json"
    path.write_text(json.dumps(layout, ensure_ascii=False, indent=1), encoding="utf-8")
    tok = check(path)
    added = {str(t["id"]): {k: t[k] for k in ("content", "lstrip", "normalized", "rstrip", "single_word", "special")}
             for t in layout["added_tokens"]}
    config = {
        "add_bos_token": False, "add_prefix_space": False, "added_tokens_decoder": added,
        "bos_token": None, "clean_up_tokenization_spaces": False, "eos_token": "<|im_end|>", "errors": "replace",
        "model_max_length": 8192, "pad_token": "<|endoftext|>", "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer", "unk_token": None,
    }
    (args.out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for s in ("user\nPROMPT\nUSER:", "\n\nASSISTANT:", labels.answer("Safe", "None", "No"),
              *(" " + c for c in labels.SEVERITIES + labels.CATEGORIES)):
        print(repr(s), tok.encode(s).tokens)


if __name__ == "__main__":
    main()
