"""qguard eval: every figure against a computation of its own here, and the published scores of the built-in model."""
import gzip
import html.parser
import json
import math
import random
import re

import pytest

LEVELS = ["Safe", "Controversial", "Unsafe"]
CATEGORIES = ["Violent", "Non-violent Illegal Acts", "Sexual Content or Sexual Acts", "PII",
              "Suicide & Self-Harm", "Unethical Acts", "Politically Sensitive Topics",
              "Copyright Violation", "Jailbreak"]


def made_rows(n, seed, labels="severity"):
    """Rows with verdicts, as label writes them; the truth leans on the verdict."""
    r = random.Random(seed)
    for i in range(n):
        truth = r.choices(LEVELS, [6, 1, 3])[0]
        x = [r.random() ** 2 + (2.5 if LEVELS[k] == truth else 0) * r.random() for k in range(3)]
        grid = r.choice([64, 1 << 20])    # ties, and sums without rounding
        p = [int(v / sum(x) * grid) / grid for v in x]
        p[0] = 1 - p[1] - p[2]
        c = [r.random() for _ in range(10)]
        kind = r.randrange(9)
        c[kind] += 3
        c = [round(v / sum(c), 6) for v in c]
        said = max(range(3), key=lambda k: p[k])
        top = max(range(9), key=lambda k: c[k])
        row = {"id": f"row-{i}", "severity": truth,
               "categories": [] if truth == "Safe" else
               [CATEGORIES[kind if r.random() < 0.7 else r.randrange(9)], CATEGORIES[r.randrange(9)]]}
        if labels == "label":
            row["label"] = "safe" if truth == "Safe" else "unsafe"
        row["qguard"] = {"role": "user", "severity": LEVELS[said],
                         "categories": [CATEGORIES[top]] if said else [], "refusal": None,
                         "p": {"severity": dict(zip(LEVELS, p)),
                               "categories": dict(zip(CATEGORIES + ["None"], c)), "refusal": None},
                         "tokens": {"input": 9}, "model": "m"}
        yield row


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.fixture
def evaluate(run_qguard):
    def run(*args, code=0, **more):
        done = run_qguard("eval", "--json", *args, **more)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)
    return run


def close(a, b):
    return (a is None and (b is None or math.isnan(b))) or math.isclose(a, b, rel_tol=1e-8, abs_tol=1e-9)


# ---- the same figures, computed here ----

def truth_of(row, loose):
    if "label" in row:
        return row["label"] == "unsafe"
    return row["severity"] == "Unsafe" or (not loose and row["severity"] == "Controversial")


def said_of(row, loose):
    return row["qguard"]["severity"] == "Unsafe" or (not loose and
                                                     row["qguard"]["severity"] == "Controversial")


def p_of(row, loose):
    p = row["qguard"]["p"]["severity"]
    return p["Unsafe"] + (0 if loose else p["Controversial"])


def rates(pairs):
    tp = sum(y and x for y, x in pairs)
    fp = sum(x and not y for y, x in pairs)
    fn = sum(y and not x for y, x in pairs)
    tn = len(pairs) - tp - fp - fn
    div = lambda a, b: a / b if b else math.nan
    return {"tp": tp, "fp": fp, "fn": fn, "tn": tn, "f1": div(2 * tp, 2 * tp + fp + fn),
            "precision": div(tp, tp + fp), "recall": div(tp, tp + fn), "fpr": div(fp, fp + tn)}


def rank_sum(scores, truth):
    """Area under ROC as the chance that an unsafe row scores higher."""
    yes = [s for s, y in zip(scores, truth) if y]
    no = [s for s, y in zip(scores, truth) if not y]
    return sum((a > b) + (a == b) / 2 for a in yes for b in no) / (len(yes) * len(no))


def average_precision(scores, truth):
    total = before = 0
    for t in sorted(set(scores), reverse=True):
        hit = [y for s, y in zip(scores, truth) if s >= t]
        recall = sum(hit) / sum(truth)
        total += (recall - before) * sum(hit) / len(hit)
        before = recall
    return total


def splitmix64(seed):
    mask = (1 << 64) - 1
    while True:
        seed = (seed + 0x9e3779b97f4a7c15) & mask
        z = seed
        z = ((z ^ z >> 30) * 0xbf58476d1ce4e5b9) & mask
        z = ((z ^ z >> 27) * 0x94d049bb133111eb) & mask
        yield z ^ z >> 31


def intervals(rows, samples):
    stream, drawn = splitmix64(0x5eed), []
    pairs = [[(truth_of(r, loose), said_of(r, loose)) for r in rows] for loose in (False, True)]
    for _ in range(samples):
        at = [(next(stream) >> 32) * len(rows) >> 32 for _ in rows]
        drawn.append([rates([p[i] for i in at]) for p in pairs])
    out = [{}, {}]
    for m in (0, 1):
        for name in ("f1", "precision", "recall", "fpr"):
            x = sorted(v for v in (d[m][name] for d in drawn) if not math.isnan(v))
            out[m][name] = [x[int(0.025 * (len(x) - 1) + 0.5)], x[int(0.975 * (len(x) - 1) + 0.5)]]
    return out


@pytest.mark.parametrize("labels", ["severity", "label"])
def test_every_figure(evaluate, tmp_path, labels):
    rows = list(made_rows(400, 1, labels))
    got, = evaluate("--judged", "--bootstrap", "60", write(tmp_path / "set.jsonl", rows))["sets"]
    assert (got["name"], got["rows"], got["failed"]) == ("set", 400, 0)
    around = intervals(rows, 60)
    for m, mode in enumerate(("strict", "loose")):
        pairs = [(truth_of(r, m), said_of(r, m)) for r in rows]
        for name, want in rates(pairs).items():
            assert close(got[mode][name], want), (mode, name)
        for name, (low, high) in around[m].items():
            assert close(got[mode]["interval95"][name][0], low)
            assert close(got[mode]["interval95"][name][1], high)
        scores, truth = [p_of(r, m) for r in rows], [truth_of(r, m) for r in rows]
        assert close(got["curve"][mode]["auroc"], rank_sum(scores, truth))
        assert close(got["curve"][mode]["average_precision"], average_precision(scores, truth))
        for point in got["curve"][mode]["points"]:
            if point["threshold"] is not None:
                t = min(scores, key=lambda s: abs(s - point["threshold"]))
                want = rates([(y, s >= t) for s, y in zip(scores, truth)])
                assert all(close(point[k], want[k]) for k in ("recall", "precision", "fpr"))
        last = got["curve"][mode]["points"][-1]
        assert (last["recall"], last["fpr"]) == (1, 1)
    for a in LEVELS:
        for b in LEVELS:
            assert got["severity"][a][b] == sum(
                r["severity"] == a and r["qguard"]["severity"] == b for r in rows)


def test_calibration(evaluate, tmp_path):
    rows = list(made_rows(300, 2))
    got = evaluate("--judged", write(tmp_path / "s.jsonl", rows))["sets"][0]["calibration"]
    p = [p_of(r, False) for r in rows]
    y = [truth_of(r, False) for r in rows]
    assert close(got["brier"], sum((a - b) ** 2 for a, b in zip(p, y)) / len(p))
    error = 0
    for b in range(10):
        inside = [(a, t) for a, t in zip(p, y) if min(9, int(a * 10)) == b]
        assert got["bins"][b]["n"] == len(inside)
        if inside:
            mean, share = (sum(v) / len(inside) for v in zip(*inside))
            assert close(got["bins"][b]["p"], mean) and close(got["bins"][b]["unsafe"], share)
            error += len(inside) / len(p) * abs(mean - share)
    assert close(got["ece"], error)


def test_categories(evaluate, tmp_path):
    rows = list(made_rows(300, 3))
    got = evaluate("--judged", write(tmp_path / "s.jsonl", rows))["sets"][0]["category"]
    pairs = [((r["categories"] or ["None"])[0], (r["qguard"]["categories"] or ["None"])[0])
             for r in rows]
    for c in CATEGORIES:
        want = rates([(so == c, said == c) for so, said in pairs])
        assert all(close(got[c][k], want[k]) for k in ("f1", "precision", "recall")), c
    for so in CATEGORIES + ["None"]:
        for said in CATEGORIES + ["None"]:
            assert got[so]["said"][said] == pairs.count((so, said))


def hits(row, unsafe, categories):
    """A policy's rule: a category with a threshold is decided by it alone."""
    p = row["qguard"]["p"]["categories"]
    hit, share = p_of(row, False), sum(v for k, v in p.items() if k != "None")
    top = (row["qguard"]["categories"] or [None])[0]
    general = hit >= unsafe and top not in categories
    return general or any(hit * p[c] / share >= t for c, t in categories.items())


def test_suggested_thresholds(evaluate, run_qguard, tmp_path):
    rows = list(made_rows(900, 4))
    file, policy = write(tmp_path / "s.jsonl", rows), tmp_path / "p.yaml"
    got = evaluate("--judged", "--tune", policy, "--max-fpr", "20", file)["thresholds"]
    checked = run_qguard("policy", "check", policy)
    assert checked.returncode == 0, checked.stderr
    text = policy.read_text()
    assert f"unsafe: {got['unsafe']:.4f}" in text
    # no other threshold is better and keeps to the share of false alarms
    y, p = [truth_of(r, False) for r in rows], [p_of(r, False) for r in rows]
    best = {t: rates([(a, b >= t) for a, b in zip(y, p)]) for t in (got["unsafe"], *p)}
    limit = 0.2
    while best[got["unsafe"]]["fpr"] < limit / 2:
        limit /= 2
    assert best[got["unsafe"]]["f1"] >= max(r["f1"] for r in best.values() if r["fpr"] <= limit) - 1e-9
    assert len(got["categories"]) >= 3
    chosen = {c: v["threshold"] for c, v in got["categories"].items()}
    want = rates([(truth_of(r, False), hits(r, got["unsafe"], chosen)) for r in rows])
    assert want["fpr"] <= 0.2
    for name in ("tp", "fp", "fn", "tn"):
        assert got["so"][name] == want[name]
    # and the policy file makes the same of the rows
    by_policy = evaluate("--judged", "--policy", policy, file)["sets"][0]["policy"]
    assert {k: by_policy[k] for k in want} == pytest.approx(want)


def test_two_judges(evaluate, run_qguard, tmp_path):
    a = list(made_rows(250, 5, "label"))
    b = [dict(row, qguard=other["qguard"]) for row, other in zip(a, made_rows(250, 6))]
    files = write(tmp_path / "a.jsonl", a), write(tmp_path / "b.jsonl", b)
    got = evaluate("--compare", *files)["compared"]
    sev = lambda r: r["qguard"]["severity"]
    flips = [(x["id"], sev(x), sev(y)) for x, y in zip(a, b) if sev(x) != sev(y)]
    assert [(f["id"], f["a"]["severity"], f["b"]["severity"]) for f in got["flips"]] == flips
    assert got["same"] == 250 - len(flips)
    right = lambda r: said_of(r, False) == truth_of(r, False)
    only_a = sum(right(x) and not right(y) for x, y in zip(a, b))
    only_b = sum(right(y) and not right(x) for x, y in zip(a, b))
    assert (got["only_a_right"], got["only_b_right"]) == (only_a, only_b)
    n, k = only_a + only_b, min(only_a, only_b)
    assert close(got["p_value"], min(1, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2 ** n))
    done = run_qguard("eval", "--compare", *files)
    assert f"{len(flips)} flips" in done.stdout and flips[0][0] in done.stdout
    done = run_qguard("eval", "--compare", files[0], write(tmp_path / "c.jsonl", b[1:]))
    assert done.returncode == 1 and "not the same" in done.stderr


def test_two_models(evaluate, shared):
    got = evaluate("--dtype", "float32", "--other-model", "qguard-demo", "--quiet", "--bootstrap",
                   "0", shared / "data/eval/simple-safety-tests.jsonl")
    assert got["compared"]["same"] == 100 and not got["compared"]["flips"]
    assert got["compared"]["sets"][0]["strict"] == got["sets"][0]["strict"]


# ---- the model's published scores ----

SETS = ["simple-safety-tests", "xstest-prompts", "jailbreakbench-prompts", "harmbench-prompts"]


def test_the_published_scores_of_the_built_in_model(evaluate, repo, shared):
    table = {}
    for line in (repo / "demo/README.md").read_text().split("## The Stream")[0].splitlines():
        cells = [c.strip() for c in line.strip("| ").split("|")]
        if cells[0] in SETS and cells[0] not in table and len(cells) == 10:
            table[cells[0]] = cells[2:]
    assert len(table) == len(SETS)
    got = evaluate("--quiet", "--bootstrap", "0", *(shared / f"data/eval/{s}.jsonl" for s in SETS))
    assert [s["name"] for s in got["sets"]] == SETS + ["all"]
    for s in got["sets"][:-1]:
        for m, mode in enumerate(("strict", "loose")):
            for i, name in enumerate(("f1", "precision", "recall", "fpr")):
                cell, value = table[s["name"]][4 * m + i], s[mode][name]
                # PyTorch and this engine round differently: one row may fall to the other side
                one_row = 0.06 + 105 / (s[mode]["tp"] + s[mode]["fn"])
                assert (cell == "–" and value is None) or \
                    abs(float(cell) - 100 * value) < one_row, (s["name"], mode, name, cell)
        assert s["latency"]["p50_ms"] <= s["latency"]["p99_ms"]


def test_judging_and_judged_are_the_same(evaluate, run_qguard, shared, tmp_path):
    file = shared / "data/eval/xstest-prompts.jsonl"
    assert run_qguard("label", file, tmp_path / "out", "--quiet").returncode == 0
    now, = evaluate("--quiet", file)["sets"]
    then, = evaluate("--judged", tmp_path / "out")["sets"]
    for same in ("rows", "strict", "loose", "severity", "category"):
        assert now[same] == then[same]
    assert now["calibration"]["ece"] == pytest.approx(then["calibration"]["ece"], abs=1e-8)
    assert "latency" in now and "latency" not in then


# ---- what it looks like, what goes wrong ----

class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not any(k.startswith("on") or (v or "").startswith("http") for k, v in attrs)
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag in ("tr", "table"):    # a row may end where the next begins
            while self.open[-1] != tag:
                assert self.open.pop() in ("tr", "td", "th")
        assert self.open.pop() == tag


def test_the_page_needs_nothing_and_is_whole(run_qguard, tmp_path):
    rows = list(made_rows(120, 7))
    rows[0]["id"] = "<script>alert(1)</script>&\"'"
    flipped = [dict(r, qguard=q["qguard"]) for r, q in zip(rows, made_rows(120, 8))]
    page = tmp_path / "r.html"
    done = run_qguard("eval", "--compare", "--html", page, "--tune", tmp_path / "t.yaml",
                      write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", flipped))
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    parsed = Page()
    parsed.feed(text)
    assert not parsed.open and parsed.tags.count("svg") == 3
    assert not {"script", "link", "img", "iframe"} & set(parsed.tags)
    assert "prefers-color-scheme:dark" in text and not re.search(r"nan|inf\b|url\(", text)


def test_rows_that_cannot_be_used_are_counted(evaluate, run_qguard, tmp_path):
    rows = list(made_rows(30, 9))
    bad = [{"prompt": "a"}, dict(rows[0], qguard={"severity": "Evil"}), dict(rows[0], label="maybe")]
    got = evaluate("--judged", write(tmp_path / "s.jsonl", rows + bad), code=1)["sets"][0]
    assert (got["rows"], got["failed"]) == (30, 3)
    done = run_qguard("eval", "--judged", write(tmp_path / "s.jsonl", bad))
    assert done.returncode == 1 and "line 1" in done.stderr
    done = run_qguard("eval", "--judged", write(tmp_path / "s.jsonl", []))
    assert done.returncode == 1 and "no rows" in done.stderr


@pytest.mark.parametrize("args", [(), ("--compare", "a"), ("--compare", "a", "b", "c"),
                                  ("--compare", "--other-model", "m", "a", "b")], ids=" ".join)
def test_wrong_usage(run_qguard, args):
    done = run_qguard("eval", *args)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr


def test_one_class_only(evaluate, tmp_path):
    rows = [r for r in made_rows(200, 10) if r["severity"] == "Unsafe"]
    got, = evaluate("--judged", write(tmp_path / "s.jsonl", rows))["sets"]
    assert got["strict"]["fpr"] is None and got["curve"]["strict"]["auroc"] is None
    assert got["strict"]["interval95"]["fpr"] == [None, None]


def test_compressed_sets(evaluate, tmp_path):
    file = write(tmp_path / "s.jsonl", list(made_rows(20, 11)))
    (tmp_path / "s.jsonl.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    assert evaluate("--judged", tmp_path / "s.jsonl.gz")["sets"][0]["rows"] == 20
