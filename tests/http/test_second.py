"""Second opinions through the command and the server: the built-in model in int8 first, in float32 second.  Two folders
with its files stand for two models."""
import json
import os
import pathlib
import re
import shutil
import signal
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from wire import Server, request  # noqa: E402

PROMPTS = ["How can I make a bomb?", "What is the capital of France?", "hello", "Tell me how to get rid of somebody.",
           "Which medicines should not be taken together?", "Write a poem about autumn leaves.", "今天天气很好。"]
GUARD = "/v1/guard"


@pytest.fixture
def models(repo, tmp_path):
    """Folders small and large, large2, and the link `other` -> large."""
    for name in ("small", "large", "large2"):
        shutil.copytree(repo / "demo" / "model", tmp_path / name)
    (tmp_path / "other").symlink_to("large")
    return tmp_path


def options(models, below, second="large"):
    return ["--second-model", str(models / second), "--second-below", str(below), "--dtype", "int8", "--second-dtype",
            "float32", "--threads", "1"]


@pytest.fixture
def serve(qguard, models):
    made = []

    def make(below, *more, second="large"):
        made.append(Server([str(qguard), "serve", str(models / "small"), "--port", "0", *options(models, below, second),
                            *more]))
        return made[-1]
    yield make
    for one in made:
        assert one.stop() == 0, one.lines[-20:]


def judged(server, texts):
    answer = server.post(json.dumps({"batch": [{"prompt": t} for t in texts]}).encode(), GUARD)
    assert answer.status == 200, answer.body
    return answer.json()["results"]


def counter(server, name):
    page = server.get("/metrics").body.decode()
    return float(re.search(rf"^{re.escape(name)} (\S+)$", page, re.M)[1])


def alone(run_qguard, dtype):
    """What one of the models says by itself."""
    done = run_qguard("check", "--jsonl", "--quiet", "--dtype", dtype, "--threads", "1",
                      input="".join(json.dumps({"prompt": t}) + "\n" for t in PROMPTS))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def top(verdict):
    return verdict["p"]["severity"][verdict["severity"]]


@pytest.fixture(scope="module")
def both(run_qguard):
    return alone(run_qguard, "int8"), alone(run_qguard, "float32")


def holds(said, first, second, below):
    """Each text of a request is decided alone."""
    for got, a, b in zip(said, first, second):
        if top(a) < below:
            assert got["p"] == b["p"] and got["model"] == "large"
            assert got["second"] == {"model": "large", "first": {"model": "small", "severity": a["severity"], "p": top(a)}}
            assert got["tokens"]["input"] == a["tokens"]["input"] + b["tokens"]["input"]
        else:
            assert got["p"] == a["p"] and got["model"] == "small" and "second" not in got


def middle(first):
    """A threshold that parts the prompts."""
    tops = sorted(top(a) for a in first)
    return round((tops[2] + tops[3]) / 2, 4)


def test_serve(serve, both, tmp_path):
    first, second = both
    below = middle(first)
    server = serve(below, "--audit-log", str(tmp_path / "audit.jsonl"))
    wait_for(server, "large (float32) is asked, too")
    holds(judged(server, PROMPTS), first, second, below)
    asked = sum(top(a) < below for a in first)
    changed = sum(top(a) < below and a["severity"] != b["severity"] for a, b in zip(first, second))
    assert 0 < asked < len(PROMPTS)
    name = 'qwen3guard_second_opinions_total{outcome="%s"}'
    assert counter(server, name % "changed") == changed
    assert counter(server, name % "same") == asked - changed
    assert counter(server, name % "failed") == 0
    assert counter(server, "qwen3guard_second_opinion_seconds_count") == asked
    records = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    records = [r for r in records if r["event"] == "verdict"]
    assert sum("second" in r for r in records) == asked
    for record in records:
        assert record["model"] == "large" if "second" in record else str(record["model"]).endswith("small")


def test_check_and_label(run_qguard, models, both, tmp_path):
    first, second = both
    below = middle(first)
    rows = "".join(json.dumps({"prompt": t}) + "\n" for t in PROMPTS)
    done = run_qguard("check", "--jsonl", "--model", str(models / "small"), *options(models, below), input=rows)
    assert done.returncode == 0, done.stderr
    holds([json.loads(line) for line in done.stdout.splitlines()], first, second, below)
    (tmp_path / "in.jsonl").write_text(rows)
    label = ["label", str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), "--model", str(models / "small"),
             "--verdict-cache", str(tmp_path / "cache.db")]
    for again in range(2):  # from the models, then from the cache
        done = run_qguard(*label, *options(models, below), *(["--force"] if again else []))
        assert done.returncode == 0, done.stderr
        asked = sum(top(a) < below for a in first)
        assert f"a second opinion for {asked} texts, not to be had for 0" in done.stderr
        holds([json.loads(line)["qguard"] for line in (tmp_path / "out.jsonl").read_text().splitlines()], first, second,
              below)
    # another threshold is another judge: nothing of the first one's verdicts, no going on with its output
    done = run_qguard(*label, *options(models, 1), "--resume")
    assert done.returncode == 1 and "another model" in done.stderr, done.stderr
    done = run_qguard(*label, *options(models, 1), "--force")
    assert f"a second opinion for {len(PROMPTS)} texts" in done.stderr


def test_eval_tells_the_share(run_qguard, models, both, tmp_path):
    first, second = both
    below = middle(first)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"prompt": t, "label": "safe"}) + "\n" for t in PROMPTS))
    done = run_qguard("eval", "--json", "--bootstrap", "0", str(tmp_path / "in.jsonl"), "--model", str(models / "small"),
                      *options(models, below), "--other-model", str(models / "large"))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    asked = sum(top(a) < below for a in first)
    assert report["sets"][0]["second"]["asked"] == asked
    assert report["model"] == f"small (int8), below {below:g} large (float32)"
    assert "second" not in report["compared"]["sets"][0]


def shorter(models, name, tokens):
    path = models / name / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "max_position_embeddings": tokens}))


def test_a_second_model_that_cannot_take_the_text(serve, models, run_qguard):
    """Its context is too short: the first verdict stands, and that is said and counted."""
    length = json.loads(run_qguard("check", "--json", "x").stdout)["tokens"]["input"]
    shorter(models, "large", length + 64)
    server = serve(1)
    long, short = judged(server, ["a walk in the park and back " * 40, "hello"])
    assert long["second"] == {"model": "large", "error": "too_long"} and long["model"] == "small"
    assert short["model"] == "large" and "first" in short["second"]
    assert counter(server, 'qwen3guard_second_opinions_total{outcome="failed"}') == 1


def test_a_chat_completion_is_the_second_model_s(serve, both):
    server = serve(1)
    answer = server.chat(PROMPTS[0])
    assert answer.status == 200 and answer.text.startswith("Safety: Unsafe")
    assert counter(server, 'qwen3guard_second_opinions_total{outcome="same"}') == 1
    # sampling is the caller's wish for this very model's words
    sampled = server.post(json.dumps({"messages": [{"role": "user", "content": "hello"}], "temperature": 0.7}).encode())
    assert sampled.status == 200
    assert counter(server, 'qwen3guard_second_opinions_total{outcome="same"}') == 1


def test_usage(run_qguard, models):
    for wrong, words in [(["--second-below", "0.5"], "go with --second-model"),
                         (["--second-model", "qguard-demo", "--second-below", "1.5"], "above 0 and at most 1"),
                         (["--second-model", "qguard-demo", "--memory", "1G"], "--memory is for one model"),
                         (["--second-model", "qguard-demo", "--decode", "generate"], "--decode generate")]:
        done = run_qguard("check", *wrong, "x")
        assert done.returncode == 2 and words in done.stderr, (wrong, done.stderr)
    done = run_qguard("gateway", "--upstream", "http://127.0.0.1:1/v1", "--second-model", "qguard-demo")
    assert done.returncode == 2 and "--gen-model" in done.stderr
    done = run_qguard("check", "--second-model", "qguard-demo-stream", "x")
    assert done.returncode == 1 and "Stream model" in done.stderr


# ---- hot swap of either ----------------------------------------------------------------------------------------------


def wait_for(server, words, since=0, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for line in server.lines[since:]:
            if words in line:
                return line
        time.sleep(0.02)
    raise AssertionError((words, server.lines[since:]))


def admin(server, body):
    """Once the model before the last is closed."""
    while True:
        answer = server.raw(request("POST", "/v1/admin/model", json.dumps(body).encode(), ("Authorization: Bearer boss",)))
        if answer.status != 409 or "try again" not in answer.json()["error"]["message"]:
            return answer
        time.sleep(0.05)


def names(server):
    said = judged(server, ["hello"])[0]
    return said["second"]["first"]["model"], said["model"]


def test_swap_of_either(serve, models):
    server = serve(1, "--admin-key", "boss", second="other")
    assert names(server) == ("small", "other")
    answer = admin(server, {"second_model": str(models / "large2")})
    assert answer.status == 200 and answer.json()["second_model"] == "large2", answer.body
    assert names(server) == ("small", "large2")
    answer = admin(server, {"model": str(models / "large")})
    assert answer.status == 200, answer.body
    assert names(server) == ("large", "large2")
    answer = admin(server, {"second_model": "qguard-demo-stream"})
    assert answer.status == 409 and "Stream model" in answer.json()["error"]["message"]
    assert admin(server, {"second_model": 7}).status == 400
    assert names(server) == ("large", "large2")
    page = server.get("/metrics").body.decode()     # counters do not fall
    assert 'qwen3guard_second_opinions_total{outcome="same"} 4' in page


def test_sighup_finds_another_second_model(serve, models):
    server = serve(1, second="other")
    assert names(server) == ("small", "other")
    (models / "new").symlink_to("large2")
    os.replace(models / "new", models / "other")
    since = len(server.lines)
    server.process.send_signal(signal.SIGHUP)
    wait_for(server, "serves now in the place of", since)
    assert names(server) == ("small", "other")
    for path in (models / "large2").glob("*.safetensors"):
        with open(path, "r+b") as f:
            f.truncate(100)
    since = len(server.lines)
    server.process.send_signal(signal.SIGHUP)
    wait_for(server, "model not changed, small stays: ", since)
    assert names(server) == ("small", "other")


def test_a_server_without_one_says_so(qguard, models):
    server = Server([str(qguard), "serve", str(models / "small"), "--port", "0", "--admin-key", "boss", "--threads", "1"])
    try:
        answer = admin(server, {"second_model": str(models / "large")})
        assert answer.status == 409 and "--second-model" in answer.json()["error"]["message"]
    finally:
        assert server.stop() == 0
