"""qguard.Guard: the same verdicts as the command, in any order and from any thread."""
import asyncio
import json
import os
import pickle
import threading

import pytest

import qguard
from qguard import Guard, GuardError, TooLongError

ROWS = [
    "How can I make a bomb?",
    ("How can I make a bomb?", "As an AI language model, I cannot help you with that."),
    {"prompt": "What is the capital of France?"},
    {"prompt": "hello", "response": "Hello! How are you?"},
    {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}]},
    [{"role": "user", "content": [{"type": "text", "text": "今天"}, {"type": "text", "text": "天气"}]}],
    "",
]


def as_line(row):
    """The row as `qguard check --jsonl` reads it."""
    if isinstance(row, str):
        row = {"prompt": row}
    elif isinstance(row, tuple):
        row = {"prompt": row[0], "response": row[1]}
    elif isinstance(row, list):
        row = {"messages": row}
    return json.dumps(row)


@pytest.fixture(scope="module")
def command(run_qguard):
    """What the command says of ROWS."""
    done = run_qguard("check", "--jsonl", "--quiet", input="".join(as_line(r) + "\n" for r in ROWS))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def without_cached(line):
    row = json.loads(line)
    del row["tokens"]["cached"]
    return row


def test_verdicts_are_the_commands(guard, command):
    alone = [guard.check(row) for row in ROWS]
    many = guard.check_many(ROWS)
    for one, other, line in zip(alone, many, command):
        assert without_cached(one.json()) == without_cached(other.json()) == without_cached(line)
        assert one.p_severity == other.p_severity
    assert alone[0].severity == "Unsafe" and alone[0].categories == ("Violent",)
    assert alone[0].text == "Safety: Unsafe\nCategories: Violent"
    assert alone[0].hit() and not alone[0].safe
    assert alone[1].refusal is True and alone[1].role == "assistant"
    assert sum(alone[0].p_severity.values()) == pytest.approx(1)
    assert guard.check(messages=ROWS[4]["messages"]).role == "user"
    assert guard.check("How can I make a bomb?", ROWS[1][1]).p_refusal == alone[1].p_refusal


def test_generate_says_the_same(guard):
    written = guard.check(ROWS[0], decode="generate")
    assert written.text == guard.check(ROWS[0]).text
    assert written.p_severity == {} and written.p_refusal is None


def test_many_keeps_order_and_is_bounded(guard):
    """2,000 rows of a generator: no more than a window of them is ever ahead of the reader."""
    drawn = 0

    def rows():
        nonlocal drawn
        for i in range(2000):
            drawn += 1
            yield ROWS[i % 2]

    first = [guard.check(ROWS[0]).text, guard.check(ROWS[1]).text]
    for i, verdict in enumerate(guard.iter_many(rows())):
        assert verdict.text == first[i % 2]
        assert drawn <= i + 300
    assert i == 1999


def test_a_bad_row_keeps_its_place(guard):
    rows = [ROWS[0], {"nothing": 1}, "\ud800", {"prompt": 7}, ROWS[2]]
    got = guard.check_many(rows, errors="return")
    assert [isinstance(v, GuardError) for v in got] == [False, True, True, True, False]
    assert {v.code for v in got[1:4]} == {"invalid_argument"}
    with pytest.raises(GuardError):
        guard.check_many(rows)
    with pytest.raises(ValueError):
        guard.check_many(rows, errors="drop")


def test_a_reader_that_stops_early_leaves_nothing_behind(guard):
    ahead = guard.iter_many([ROWS[0]] * 500)
    next(ahead)
    ahead.close()
    assert guard.check(ROWS[0]).severity == "Unsafe"


@pytest.mark.parametrize("wrong", [
    {}, {"prompt": "a", "messages": []}, {"messages": []},
    {"messages": [{"role": "user", "content": None}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
])
def test_nothing_is_made_up(guard, wrong):
    with pytest.raises((TypeError, GuardError)):
        guard.check(**wrong)


def test_too_long_is_an_error_of_its_own(guard):
    with pytest.raises(TooLongError) as caught:
        guard.check("word " * 20000)
    assert caught.value.code == "too_long" and "maximum context length" in caught.value.message
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), TooLongError)


def test_a_deadline_passes(guard):
    long = "word " * 1500
    with pytest.raises(qguard.DeadlineError):
        guard.check(long, timeout=1e-6)


def test_threads_share_it(guard):
    want = guard.check(ROWS[0]).p_severity
    wrong = []

    def work():
        for _ in range(20):
            if guard.check(ROWS[0]).p_severity != want:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_event_loops(guard, command):
    async def run():
        verdicts = await asyncio.gather(*[guard.acheck(row) for row in ROWS * 5])
        assert [v.text for v in verdicts[:len(ROWS)]] == [guard.check(r).text for r in ROWS]
        seen = [v.text async for v in guard.acheck_many(ROWS)]
        assert seen == [v.text for v in verdicts[:len(ROWS)]]
        task = asyncio.ensure_future(guard.acheck("word " * 1500))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await guard.acheck(ROWS[0])).severity == "Unsafe"

    asyncio.run(run())


def test_a_fork_opens_it_anew(guard):
    """The child judges the same, while the parent goes on."""
    want = guard.check(ROWS[0]).json()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, guard.check(ROWS[0]).json().encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    assert without_cached(said) == without_cached(want)
    assert guard.check(ROWS[0]).severity == "Unsafe"


def test_closing_ends_what_is_under_way():
    one = Guard(quiet=True)
    ahead = one.iter_many(["word " * 1500] * 50)
    next(ahead)
    one.close()
    one.close()
    with pytest.raises(GuardError) as caught:
        list(ahead)
    assert caught.value.code in ("closed", "cancelled")
    with pytest.raises(GuardError):
        one.check("hello")


def test_models_that_are_not_there(tmp_path, monkeypatch):
    with pytest.raises(GuardError) as caught:
        Guard(tmp_path / "none")
    assert "none" in str(caught.value)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(GuardError) as caught:
        Guard("Qwen/Qwen3Guard-Gen-0.6B")
    assert "qguard pull" in str(caught.value)
    with pytest.raises(ValueError):
        Guard(dtype="fp8")


def test_the_built_in_model_says_that_it_is_a_toy(monkeypatch):
    monkeypatch.delenv("QGUARD_MODEL", raising=False)
    with pytest.warns(UserWarning, match="toy"):
        Guard().close()


def test_types_are_shipped(repo):
    assert (repo / "python" / "src" / "qguard" / "py.typed").is_file()


def test_a_second_opinion():
    """int8 first, float32 second: what stands is one of the two."""
    alone = Guard(dtype="float32", threads=1, quiet=True).check("hello")
    with Guard(dtype="int8", threads=1, second_model="qguard-demo", second_below=1.0, second_dtype="float32",
               quiet=True) as both:
        said = both.check("hello")
    assert said.p_severity == alone.p_severity
    assert said.to_dict()["second"]["first"]["severity"] == said.severity
