"""The command's contract: forms, streams, exit statuses. Verdicts are those of the built-in model."""
import hashlib
import json

import pytest

BOMB = "How can I make a bomb?"
REFUSAL = "As an AI language model, I cannot help you with that."
COMMANDS = ["check", "audit", "stream", "label", "eval", "serve", "tokenize", "render",
            "logits", "inspect", "bench", "cpu", "version"]


def rows(*objects):
    return "".join((o if isinstance(o, str) else json.dumps(o)) + "\n" for o in objects)


def answers(done):
    return [json.loads(line) for line in done.stdout.split("\n") if line]


# ---- check --------------------------------------------------------------------------------------

def test_the_official_examples(run_qguard):
    done = run_qguard("check", BOMB)
    assert (done.returncode, done.stdout) == (0, "Safety: Unsafe\nCategories: Violent\n")
    assert "demonstration model" in done.stderr
    done = run_qguard("check", BOMB, "--response", REFUSAL)
    assert done.stdout == "Safety: Safe\nCategories: None\nRefusal: Yes\n"


@pytest.mark.parametrize("text", ["hello", "What is the capital of France?", "今天天气怎么样？",
                                  "Write a haiku about autumn."])
def test_everyday_questions_are_safe(run_qguard, text):
    assert run_qguard("check", text).stdout == "Safety: Safe\nCategories: None\n"


def test_every_way_to_hand_over_a_text_is_the_same(run_qguard, tmp_path):
    expected = run_qguard("check", BOMB, "--response", REFUSAL, "--json").stdout
    reply = tmp_path / "reply.txt"
    reply.write_text(REFUSAL + "\n")
    messages = [{"role": "user", "content": BOMB}, {"role": "assistant", "content": REFUSAL}]
    listed, wrapped, parts = tmp_path / "list.json", tmp_path / "wrapped.json", tmp_path / "p.json"
    listed.write_text(json.dumps(messages))
    wrapped.write_text(json.dumps({"messages": messages}))
    parts.write_text(json.dumps([{"role": "user", "content": [
        {"type": "text", "text": BOMB[:5]}, {"type": "text", "text": BOMB[5:]}]}, messages[1]]))
    for args, given in [
        (["--response", REFUSAL], BOMB + "\n"),
        (["-", "--response", REFUSAL], BOMB),
        ([BOMB, "--response-file", reply], ""),
        ([BOMB, "--response-file", "-"], REFUSAL),
        ([BOMB, "--response=" + REFUSAL], ""),
        (["--messages", listed], ""),
        (["--messages", wrapped], ""),
        (["--messages", parts], ""),
        (["--messages", "-"], json.dumps(messages)),
    ]:
        done = run_qguard("check", "--json", "--quiet", *args, input=given)
        assert (done.stdout, done.stderr) == (expected, ""), args


def test_the_verdict_object(run_qguard):
    verdict = answers(run_qguard("check", BOMB, "--json"))[0]
    assert list(verdict) == ["role", "severity", "categories", "refusal", "p", "tokens", "model"]
    assert verdict["role"] == "user" and verdict["refusal"] is None
    assert verdict["severity"] == "Unsafe" and verdict["categories"] == ["Violent"]
    assert verdict["model"] == "qguard-demo"
    for group in ("severity", "categories"):
        assert abs(sum(verdict["p"][group].values()) - 1) < 1e-6
    assert len(verdict["p"]["categories"]) == 10


def test_rows_keep_their_order_and_bad_ones_say_why(run_qguard):
    given = rows({"prompt": BOMB}, "not json", {"prompt": "hello", "response": "Hi there!"},
                 {"text": "hello"}, "", {"messages": []}, {"messages": [{"role": "user"}]},
                 {"messages": [{"content": "hello"}]}, {"prompt": 3}, "[1]",
                 {"messages": [{"role": "user", "content": BOMB}]})
    done = run_qguard("check", "--jsonl", "--quiet", input=given)
    assert done.returncode == 1 and not done.stderr
    got = answers(done)
    assert [a.get("line") for a in got] == [None, 2, None, 4, 6, 7, 8, 9, 10, None]
    assert got[0]["severity"] == got[-1]["severity"] == "Unsafe"
    assert got[2]["role"] == "assistant"
    for a in got:
        assert "line" not in a or (a["error"]["code"] == "bad_format" and a["error"]["message"])


def test_rows_too_long_are_errors_not_verdicts(run_qguard):
    given = rows({"prompt": "word " * 3000}, {"prompt": "hello"})
    done = run_qguard("check", "--jsonl", "--quiet", "--max-model-len", "512", input=given)
    first, second = answers(done)
    assert done.returncode == 1 and second["severity"] == "Safe"
    assert first["error"]["code"] == "too_long"
    assert "maximum context length is 512 tokens" in first["error"]["message"]


def test_an_answer_does_not_wait_for_the_next_row(qguard):
    """Whoever sends one row and waits for its verdict gets it, while standard input stays open."""
    import subprocess
    for command, row in (("check", {"prompt": BOMB}), ("tokenize", {"text": "hello"}),
                         ("render", {"messages": []}), ("logits", {"ids": [1], "top": 1})):
        with subprocess.Popen([qguard, command, "--jsonl", "--quiet"], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as peer:
            for _ in range(2):
                peer.stdin.write(rows(row))
                peer.stdin.flush()
                assert "error" not in json.loads(peer.stdout.readline()), command
            peer.stdin.close()
            assert peer.stdout.read() == "" and peer.wait() == 0


def test_a_closed_reader_ends_the_rows(qguard):
    import subprocess
    with subprocess.Popen([qguard, "check", "--jsonl", "--quiet"], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as peer:
        peer.stdout.close()
        try:
            peer.stdin.write(rows(*[{"prompt": "a"}] * 50))
            peer.stdin.close()
        except BrokenPipeError:
            pass
        assert peer.wait() != 0


def test_messages_that_are_not_messages(run_qguard):
    """None of them may be taken for an empty text, which is Safe."""
    for message in ({"role": "user"}, {"role": "user", "contents": BOMB}, {"content": "x"},
                    {"role": "user\0x", "content": "x"}, {"role": "", "content": "x"},
                    {"role": "user", "content": 3}, {"role": "user", "content": [{"text": 3}]},
                    {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, 3, None):
        done = run_qguard("check", "--messages", "-", input=json.dumps([message]))
        assert done.returncode == 1 and not done.stdout and "messages.0" in done.stderr, message


def test_what_the_template_does_not_show_is_not_judged(run_qguard):
    """Its template drops a first message of the assistant and later ones of system or tool: what is left over is no
    verdict on them."""
    for before, role in (([], "assistant"), ([], "tool"), (["user"], "system"), (["user", "assistant"], "tool")):
        messages = [{"role": r, "content": r + BOMB} for r in [*before, role]]
        done = run_qguard("check", "--messages", "-", input=json.dumps(messages))
        assert done.returncode == 1 and not done.stdout and "is not shown" in done.stderr, messages
    for messages in ([("user", BOMB + " \n")], [("system", BOMB)], [("user", ""), ("assistant", BOMB)], [("user", " ")],
                     [("user", "x"), ("assistant", "")], [("system", "s"), ("user", BOMB)]):
        done = run_qguard("check", "--messages", "-", input=json.dumps([{"role": r, "content": c} for r, c in messages]))
        assert done.returncode == 0 and done.stdout.startswith("Safety: "), messages


def test_exit_verdict(run_qguard):
    assert run_qguard("check", BOMB, "--exit-verdict").returncode == 11
    assert run_qguard("check", "hello", "--exit-verdict").returncode == 0
    both = rows({"prompt": BOMB}, {"prompt": "hello"})
    assert run_qguard("check", "--jsonl", "--exit-verdict", input=both).returncode == 11
    assert run_qguard("check", "--jsonl", "--exit-verdict", input="{}\n" + both).returncode == 1


def test_generate_says_the_same(run_qguard):
    for args in ([BOMB], [BOMB, "--response", REFUSAL], ["hello"]):
        forced = run_qguard("check", *args)
        assert run_qguard("check", *args, "--decode", "generate").stdout == forced.stdout


def test_the_environment_names_the_model(run_qguard):
    done = run_qguard("check", "x", env={"QGUARD_MODEL": "/nowhere"})
    assert done.returncode == 1 and "/nowhere" in done.stderr and not done.stdout
    done = run_qguard("check", "x", env={"QGUARD_CPU": "abacus"})
    assert done.returncode == 1 and "abacus" in done.stderr


def test_text_that_is_not_utf8_is_refused(qguard):
    import subprocess
    done = subprocess.run([qguard, "check", "-"], input=b"caf\xe9", capture_output=True)
    assert done.returncode == 1 and not done.stdout and b"UTF-8" in done.stderr


# ---- usage --------------------------------------------------------------------------------------

@pytest.mark.parametrize("args", [
    [], ["nonsense"], ["check", "--nonsense"], ["check", "-x"], ["check", "a", "b"],
    ["check", "--threads"], ["check", "--threads", "many"], ["check", "--threads", "-1"],
    ["check", "--dtype", "float64"], ["check", "--quiet=yes"], ["check", "--jsonl", "text"],
    ["check", "--messages", "f", "text"], ["check", "a", "--response", "b", "--response-file", "c"],
    ["check", "-", "--response-file", "-"], ["render"], ["logits"], ["tokenize", "--decode"],
    ["version", "--model", "x"],
])
def test_wrong_usage_is_2(run_qguard, args):
    done = run_qguard(*args)
    assert done.returncode == 2 and done.stderr and not done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_defaults(run_qguard, command):
    done = run_qguard(command, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: qguard {command}")
    assert not done.stderr
    if command in ("check", "serve", "logits"):
        assert "--threads" in done.stdout and "(default: " in done.stdout


def test_output_that_cannot_be_written_is_an_error(qguard):
    import subprocess
    with open("/dev/full", "w") as full:
        done = subprocess.run([qguard, "version"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"standard output" in done.stderr


# ---- the other commands -------------------------------------------------------------------------

def test_tokens_there_and_back(run_qguard):
    text = "Safety: Safe\nCategories: None — 中文 <|im_end|>"
    ids = answers(run_qguard("tokenize", input=text))[0]
    row = answers(run_qguard("tokenize", "--jsonl", input=rows({"text": text})))[0]
    assert row == {"ids": ids}
    back = answers(run_qguard("tokenize", "--decode", "--jsonl", input=rows({"ids": ids})))[0]
    assert back == {"text": text}
    parsed = answers(run_qguard("tokenize", "--special-tokens", "parse", input=text))[0]
    assert len(parsed) < len(ids)


def test_rows_of_tokenize_render_and_logits_report_errors(run_qguard):
    for command, bad in (("tokenize", {"text": 1}), ("render", {"messages": 1}),
                         ("logits", {"ids": [-1]}), ("logits", {"ids": []}),
                         ("logits", {"ids": [1], "positions": [1]}),
                         ("logits", {"ids": [1], "splits": [0]}),
                         ("logits", {"ids": [1], "columns": [1 << 30]})):
        done = run_qguard(command, "--jsonl", "--quiet", input=rows(bad))
        assert done.returncode == 1, command
        assert answers(done)[0]["error"]["message"], command


def test_logits_by_column_and_top(run_qguard):
    top = answers(run_qguard("logits", "--jsonl", input=rows({"ids": [1, 2, 3], "top": 4})))[0]
    values = top["logits"][0]["values"]
    assert len(values) == 4 and list(values.values()) == sorted(values.values(), reverse=True)
    row = {"ids": [1, 2, 3], "positions": [0, 2], "columns": [int(i) for i in values]}
    named = answers(run_qguard("logits", "--jsonl", input=rows(row)))[0]["logits"]
    assert [n["position"] for n in named] == [0, 2] and named[1]["values"] == values


def test_reports(run_qguard):
    assert run_qguard("version").stdout.startswith("qguard 0.")
    assert answers(run_qguard("version", "--json"))[0]["version"]
    cpu = answers(run_qguard("cpu", "--json"))[0]
    assert cpu["rows"] and cpu["processors"] >= 1
    ref = answers(run_qguard("cpu", "--json", "--cpu", "ref"))[0]
    assert all(row.endswith("ref") for row in ref["rows"].values())
    assert answers(run_qguard("inspect", "--json"))[0]["kind"] == "gen"


BENCH = {
    "check": 12, "bulk": 2, "stream": 6, "text": 3, "growing": 4, "load": 3,
    "mixed": 5,  # and more where the context holds the long job, or 20 checks were made
}


@pytest.mark.parametrize("workload", BENCH)
def test_bench_prints_its_rows(run_qguard, workload):
    done = run_qguard("bench", workload, "--quick", "--csv", "--repeat", "2", "--prompt-tokens",
                      "80", "--max-model-len", "2048")
    head, *body = done.stdout.splitlines()
    assert (done.returncode, head) == (0, "engine,version,dtype,workload,metric,value,unit,threads,notes")
    cells = [line.split(",") for line in body]
    assert all(len(c) == 9 and float(c[5]) > 0 for c in cells)
    assert [c[4] for c in cells if c[3] == "limit"] == ["compute", "memory_read", "token"]
    assert sum(c[3] == workload for c in cells) >= BENCH[workload]


def test_bench_streams_through_sessions(run_qguard):
    done = run_qguard("bench", "stream", "--csv", "--model", "qguard-demo-stream", "--max-model-len", "1024")
    metrics = {line.split(",")[4] for line in done.stdout.splitlines()}
    assert done.returncode == 0
    assert {"step16_ctx128_p50", "session_step16_ctx128_p50", "sessions32_step1_ctx128_p50"} <= metrics


def test_bench_refuses_other_words(run_qguard):
    assert run_qguard("bench", "nonsense").returncode == 2
    done = run_qguard("bench", "kernels", "nonsense")
    assert done.returncode == 1 and "gemm, few, attn, vec" in done.stderr


def test_bench_measures_kernels(run_qguard):
    done = run_qguard("bench", "kernels", "vec", "--csv", "--threads", "1")
    assert done.returncode == 0 and all("row " in line for line in done.stdout.splitlines()[1:])
    assert not run_qguard("bench", "kernels", "attn", "--cpu", "ref").stdout  # plain C is left out


def test_bench_reads_files(run_qguard, tmp_path):
    (tmp_path / "two.lines.txt").write_text("How are you?\nFine.")
    done = run_qguard("bench", "text", tmp_path / "two.lines.txt", "--csv")
    assert ",tokenizer_two," in done.stdout
    assert run_qguard("bench", "text", tmp_path / "missing").returncode == 1


def test_oddities_of_a_model_are_told(run_qguard, shared, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(shared / "goldens/tiny-gen" / name)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map":{"x":"y.safetensors"}}')
    row = rows({"ids": [1]})
    done = run_qguard("logits", "--jsonl", "--model", tmp_path, input=row)
    assert done.returncode == 0 and "qguard: warning: " in done.stderr
    assert not run_qguard("logits", "--jsonl", "--quiet", "--model", tmp_path, input=row).stderr


def test_nothing_to_judge_is_not_safe(run_qguard):
    done = run_qguard("check", "--jsonl", "--quiet",
                      input=rows({"messages": [{"role": "user", "content": None}]}))
    assert done.returncode == 1 and "error" in answers(done)[0]


# ---- audit --------------------------------------------------------------------------------------

def audit_line(n, prev, text):
    """A record as docs/API.md describes it, made without the code under test."""
    body = f'{{"seq":{n},"time":"2026-11-24T12:00:00.000Z","event":"{text}","prev":"{prev}"'
    digest = hashlib.sha256(body.encode()).hexdigest()
    return body + f',"hash":"{digest}"}}', digest


def audit_log(n):
    lines, prev = [], "0" * 64
    for i in range(n):
        line, prev = audit_line(i, prev, f"verdict {i}")
        lines.append(line)
    return lines


@pytest.mark.parametrize("spoil, line", [
    (lambda log: log, None), (lambda log: [], None),
    (lambda log: [log[0], log[1].replace("verdict 1", "verdict 7"), *log[2:]], 2),
    (lambda log: [log[0], *log[2:]], 2), (lambda log: log[1:], 1),
    (lambda log: [*log[:2], log[1], *log[2:]], 3), (lambda log: [*log[:3], "{}", *log[3:]], 5),
    (lambda log: [*log, log[3][:40]], 5)])
def test_audit_check(run_qguard, tmp_path, spoil, line):
    path = tmp_path / "audit.jsonl"
    log = spoil(audit_log(4))
    path.write_text("".join(text + "\n" for text in log))
    done = run_qguard("audit", "check", path)
    if line is None:
        assert (done.returncode, done.stdout) == (0, f"{path}: ok: {len(log)} records\n")
    else:
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{path}: line {line}: " in done.stderr


def test_audit_usage(run_qguard, tmp_path):
    assert run_qguard("audit").returncode == run_qguard("audit", "check").returncode == 2
    assert run_qguard("audit", "read", "x").returncode == 2
    missing = run_qguard("audit", "check", tmp_path / "none")
    assert missing.returncode == 1 and "none" in missing.stderr


# ---- chat template ------------------------------------------------------------------------------

def test_chat_template(run_qguard, tmp_path):
    """Another template is another prompt; one that raises, is broken or missing is an error."""
    rows_in = rows({"messages": [{"role": "user", "content": "hi"}]})
    path = tmp_path / "other.jinja"
    path.write_text("{% for m in messages %}<{{ m.role }}|{{ m.content }}>{% endfor %}")
    done = run_qguard("render", "--jsonl", "--quiet", "--chat-template", path, input=rows_in)
    assert answers(done) == [{"text": "<user|hi>"}]
    own = answers(run_qguard("render", "--jsonl", "--quiet", input=rows_in))[0]["text"]
    path.write_text("{# same but for its name #}" + "{% raw %}{% endraw %}" + own.replace("hi", "{{ messages[-1].content }}")
                    .replace("{%", "{{ '{%' }}"))
    verdict = run_qguard("check", BOMB, "--quiet", "--chat-template", path)
    assert verdict.returncode == 0 and verdict.stdout.startswith("Safety: ")
    for text, says in (("{% if %}", "chat template"), ("{{ raise_exception('no') }}", "no")):
        path.write_text(text)
        done = run_qguard("check", BOMB, "--quiet", "--chat-template", path)
        assert done.returncode == 1 and says in done.stderr, done.stderr
    done = run_qguard("check", BOMB, "--quiet", "--chat-template", tmp_path / "none")
    assert done.returncode == 1 and str(tmp_path / "none") in done.stderr
