"""The goldens, at the door people use: the command against transformers, tokenizers and jinja2."""
import json
import math
import pathlib
import subprocess
import sys

import pytest

# goldens/README.md, "Tolerances": advice for a float32 engine, by golden and length
FLOAT32 = {"tiny-gen": [(66, 1e-4), (511, 5e-4), (1 << 30, 1e-3)],
           "tiny-gen-untied": [(511, 5e-4), (1 << 30, 2e-3)],
           "mini-gen": [(1 << 30, 5e-4)]}
# root mean square of bfloat16 arithmetic in the reference library: ours keeps float32 sums and a float32
# residual stream, so it must be well inside
BF16_RMS = {"tiny-gen": 0.07, "tiny-gen-untied": 0.08, "mini-gen": 0.07}


def lines(path):
    """Rows of a golden .jsonl, without its birth certificate."""
    rows = [json.loads(line) for line in path.read_text().split("\n") if line]
    return [row for row in rows if "birth" not in row]


def ask(run_qguard, command, rows, *args):
    """One answer a row, errors included."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    done = run_qguard(*command, "--jsonl", "--quiet", *args, input=text, timeout=600)
    answers = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert len(answers) == len(rows), done.stderr
    return answers


def tolerance(table, n):
    return next(tol for limit, tol in table if n <= limit)


# ---- tokens and text ----------------------------------------------------------------------------

TEMPLATES = {"gen": "qwen3guard-gen", "first": "qwen3-0.6B", "qwen3": "qwen3-rev2"}


@pytest.fixture(scope="module")
def text_files(shared, tmp_path_factory):
    """text_files("gen"): a directory with the real tokenizer and that template, no weights."""

    def folder(template):
        path = tmp_path_factory.mktemp(template)
        (path / "tokenizer.json").symlink_to(shared / "model/tokenizer/tokenizer.json")
        (path / "chat_template.jinja").symlink_to(
            shared / f"model/templates/{TEMPLATES[template]}.chat_template.jinja")
        return path

    return folder


def test_every_tokenizer_vector(run_qguard, shared, text_files):
    rows = lines(shared / "goldens/tokenizer-vectors.jsonl")
    answers = ask(run_qguard, ["tokenize"], [{"text": r["text"]} for r in rows],
                  "--model", text_files("gen"), "--special-tokens", "parse")
    wrong = [r["text"] for r, a in zip(rows, answers) if a.get("ids") != r["ids"]]
    assert not wrong, wrong[:3]


def test_every_decode_vector(run_qguard, shared, text_files):
    rows = lines(shared / "goldens/tokenizer-decode-vectors.jsonl")
    for key, flags in (("text", []), ("text_without_special", ["--skip-special"])):
        answers = ask(run_qguard, ["tokenize", "--decode"], [{"ids": r["ids"]} for r in rows],
                      "--model", text_files("gen"), *flags)
        wrong = [r for r, a in zip(rows, answers) if a.get("text") != r[key]]
        assert not wrong, wrong[:3]


def by_template(rows):
    groups = {}
    for row in rows:
        groups.setdefault(row["template"], []).append(row)
    return groups.items()


def test_every_template_vector(run_qguard, shared, text_files):
    for template, group in by_template(lines(shared / "goldens/template-vectors.jsonl")):
        inputs = [{k: v for k, v in r.items() if k not in ("name", "template", "text", "raises")}
                  for r in group]
        answers = ask(run_qguard, ["render"], inputs, "--model", text_files(template))
        for row, answer in zip(group, answers):
            assert answer.get("text") == row.get("text"), row["name"]
            assert ("error" in answer) == ("raises" in row), row["name"]


def test_every_injection_vector(run_qguard, shared, text_files):
    for template, group in by_template(lines(shared / "goldens/injection-vectors.jsonl")):
        folder = text_files(template)
        inputs = [{"messages": r["messages"]} for r in group]
        for mode, key in (("parse", "ids"), ("text", "ids_template_tokens_only")):
            answers = ask(run_qguard, ["render", "--ids"], inputs, "--model", folder,
                          "--special-tokens", mode)
            for row, answer in zip(group, answers):
                assert answer["text"] == row["text"], row["name"]
                assert answer["ids"] == row[key], (mode, row["name"])


# ---- numbers ------------------------------------------------------------------------------------

def logit_pairs(case, answer, columns):
    """(reference, ours) of everything a golden case states."""
    for row, position in zip(answer["logits"], case.get("positions", range(len(case["ids"])))):
        assert row["position"] == position
    if "logits" in case:
        for ours, reference in zip(answer["logits"], case["logits"]):
            yield from ((ref, ours["values"][str(i)]) for i, ref in enumerate(reference))
        return
    for i, ours in enumerate(answer["logits"]):
        yield case["logsumexp"][i], ours["logsumexp"]
        yield from zip(case["columns"][i], (ours["values"][str(c)] for c in columns))
        for token, value in case["top"][i]:
            if str(token) in ours["values"]:
                yield value, ours["values"][str(token)]


def compare(run_qguard, folder, goldens, *args):
    """{length: (largest distance, root mean square)} over all cases."""
    rows = []
    for case in goldens["cases"]:
        n_vocab = len(case["logits"][0]) if "logits" in case else 0
        columns = set(goldens["columns"]) | {t for top in case.get("top", []) for t, _ in top}
        rows.append({"ids": case["ids"],
                     "positions": case.get("positions", list(range(len(case["ids"])))),
                     "columns": list(range(n_vocab)) or sorted(columns)})
    answers = ask(run_qguard, ["logits"], rows, "--model", folder, *args)
    distances = {}
    for case, answer in zip(goldens["cases"], answers):
        assert "error" not in answer, answer
        gaps = [abs(a - b) for a, b in logit_pairs(case, answer, goldens["columns"])]
        distances.setdefault(len(case["ids"]), []).extend(gaps)
    return {n: (max(g), math.sqrt(sum(x * x for x in g) / len(g))) for n, g in distances.items()}


@pytest.mark.parametrize("name", ["tiny-gen", "tiny-gen-untied"])
def test_float32_logits(run_qguard, shared, name):
    goldens = json.loads((shared / "goldens" / name / "goldens.json").read_text())
    for n, (largest, _) in compare(run_qguard, shared / "goldens" / name, goldens, "--dtype",
                                   "float32").items():
        assert largest <= tolerance(FLOAT32[name], n), (n, largest)


@pytest.mark.parametrize("name", ["tiny-gen", "tiny-gen-untied"])
def test_bfloat16_logits(run_qguard, shared, name):
    goldens = json.loads((shared / "goldens" / name / "goldens.json").read_text())
    gaps = compare(run_qguard, shared / "goldens" / name, goldens, "--dtype", "bfloat16")
    rms = math.sqrt(sum(r * r for _, r in gaps.values()) / len(gaps))
    assert rms <= BF16_RMS[name], rms


@pytest.mark.parametrize("layout", ["config.transformers5.json"])
def test_both_config_layouts(run_qguard, shared, tmp_path, layout):
    source = shared / "goldens/tiny-gen"
    (tmp_path / "config.json").symlink_to(source / layout)
    (tmp_path / "model.safetensors").symlink_to(source / "model.safetensors")
    row = [{"ids": [1, 2, 3], "top": 5}]
    assert (ask(run_qguard, ["logits"], row, "--model", tmp_path)
            == ask(run_qguard, ["logits"], row, "--model", source))


@pytest.mark.parametrize("kind", [["--dtype", "float32"], ["--dtype", "bfloat16"]])
def test_pieces_and_threads_change_no_bit(run_qguard, shared, kind):
    folder = shared / "goldens/tiny-gen"
    ids = [(7 * i * i + 3 * i) % 1024 for i in range(300)]
    row = {"ids": ids, "positions": list(range(0, 300, 7)), "top": 3}
    whole = ask(run_qguard, ["logits"], [row], "--model", folder, *kind)
    for splits in ([1] * 300, [16] * 18, [5, 100, 3, 150]):
        split = ask(run_qguard, ["logits"], [{**row, "splits": splits}], "--model", folder, *kind)
        assert split == whole, splits[:4]
    for threads in ("1", "3"):
        assert ask(run_qguard, ["logits"], [row], "--model", folder, *kind, "--threads",
                   threads) == whole


# ---- verdicts -----------------------------------------------------------------------------------

@pytest.fixture(scope="session")
def mini(shared, tmp_path_factory):
    """The mini checkpoint: real vocabulary and template, random weights (90 MB)."""
    folder = tmp_path_factory.mktemp("mini")
    subprocess.run([sys.executable, shared / "tools/make_checkpoint.py", "--shape", "mini", "--kind",
                    "gen", "--quiet", folder], check=True, timeout=300)
    template = folder / "chat_template.jinja"
    if not template.exists():
        template.symlink_to(shared / "model/templates/qwen3guard-gen.chat_template.jinja")
    return folder


def softmax(logits):
    top = max(logits.values())
    total = sum(math.exp(x - top) for x in logits.values())
    return {k: math.exp(x - top) / total for k, x in logits.items()}


def mini_cases(shared):
    return json.loads((shared / "goldens/mini-gen.json").read_text())["cases"]


def test_prompts_are_rendered_and_encoded_as_the_reference(run_qguard, shared, mini):
    cases = mini_cases(shared)
    answers = ask(run_qguard, ["render", "--ids"], [{"messages": c["messages"]} for c in cases],
                  "--model", mini)
    for case, answer in zip(cases, answers):
        assert answer["text"] == case["rendered"]
        assert answer["ids"] == case["ids"]


@pytest.mark.parametrize("dtype,bound", [("float32", 2e-4), ("bfloat16", 0.05)])
def test_verdicts_have_the_probabilities_of_the_reference(run_qguard, shared, mini, dtype, bound):
    cases = mini_cases(shared)
    answers = ask(run_qguard, ["check"], [{"messages": c["messages"]} for c in cases], "--model",
                  mini, "--dtype", dtype)
    for case, answer in zip(cases, answers):
        steps = list(case["steps"].values())
        severity, category, refusal = steps
        reply = case["messages"][-1]["role"] == "assistant"
        assert answer["role"] == ("assistant" if reply else "user")
        assert answer["tokens"]["input"] == len(case["ids"])
        assert answer["severity"] == severity["taken"]
        assert (answer["categories"] or ["None"]) == [category["taken"]]
        expected = softmax({k: v["logit"] for k, v in severity["permitted"].items()})
        for label, p in expected.items():
            assert abs(answer["p"]["severity"][label] - p) < bound
        for group in ("severity", "categories"):
            assert abs(sum(answer["p"][group].values()) - 1) < 1e-6
        assert ("Jailbreak" in answer["p"]["categories"]) == (not reply)
        if reply:
            expected = softmax({k: v["logit"] for k, v in refusal["permitted"].items()})
            assert answer["refusal"] == refusal["taken"]
            assert abs(answer["p"]["refusal"] - expected["Yes"]) < bound
        else:
            assert answer["refusal"] is None and answer["p"]["refusal"] is None


def test_forced_logits_of_the_mini_model(run_qguard, shared, mini):
    rows, expected = [], []
    for case in mini_cases(shared):
        ids = list(case["ids"])
        steps = list(case["steps"].values())
        pieces = {"Safe": [22291], "Unsafe": [73067], "Controversial": [2093, 12563, 530]}
        for step in steps[:2]:
            ids = ids + step["forced_ids"] if step is steps[0] else (
                ids + pieces[steps[0]["taken"]] + step["forced_ids"])
            rows.append({"ids": ids, "positions": "last",
                         "columns": [v["id"] for v in step["permitted"].values()]})
            expected.append(step)
    answers = ask(run_qguard, ["logits"], rows, "--model", mini, "--dtype", "float32")
    for step, answer in zip(expected, answers):
        got = answer["logits"][0]
        assert abs(got["logsumexp"] - step["logsumexp"]) < 5e-4
        for v in step["permitted"].values():
            assert abs(got["values"][str(v["id"])] - v["logit"]) < 5e-4


def test_cache_batch_and_threads_change_no_verdict(run_qguard, shared, mini):
    rows = [{"messages": c["messages"]} for c in mini_cases(shared)] * 3

    def verdicts(*args):
        answers = ask(run_qguard, ["check"], rows, "--model", mini, *args)
        for a in answers:
            del a["tokens"]  # tells how many were cached
        return answers

    alone = verdicts("--no-prefix-cache", "--concurrency", "1", "--threads", "1")
    assert verdicts() == alone
    assert verdicts("--concurrency", "12", "--threads", "2", "--step-rows", "61") == alone


def test_greedy_decoding_is_the_references(run_qguard, shared, mini):
    """Generate mode writes the goldens' greedy tokens as far as their margins allow."""
    cases = mini_cases(shared)
    for case in cases:
        ids = list(case["ids"])
        for step in case["greedy"][:6]:
            top = ask(run_qguard, ["logits"], [{"ids": ids, "top": 2}], "--model", mini, "--dtype",
                      "float32")[0]["logits"][0]["values"]
            best = max(top, key=top.get)
            if step["margin"] > 1e-3:
                assert int(best) == step["id"]
            ids.append(step["id"])
