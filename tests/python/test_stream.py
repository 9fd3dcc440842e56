"""qguard.Stream: pieces cut anywhere, one conversation."""
import json

import pytest

from qguard import GuardError

REPLY = "Sure, first you need fertilizer and a fuse. 然后点燃它。 Then light it 💣."


def finals(stream, pieces):
    """Final tokens of a reply that comes in pieces."""
    got = []
    for piece in pieces:
        got += [t for t in stream.feed(piece).tokens if t.final]
    return got + [t for t in stream.end().tokens if t.final]


def test_pieces_change_nothing(stream_guard):
    """Whole, by characters and by bytes: the same tokens."""
    raw = REPLY.encode()
    ways = [[REPLY], list(REPLY), [raw[i:i + 1] for i in range(len(raw))]]
    seen = []
    for pieces in ways:
        with stream_guard.stream() as stream:
            first = stream.user("How can I make a bomb?")
            assert len(first.tokens) == 1 and first.tokens[0].role == "user"
            seen.append([(t.index, t.id, t.severity, t.p_severity) for t in finals(stream, pieces)])
    assert seen[0] == seen[1] == seen[2] and len(seen[0]) > 5


def test_the_command_says_the_same(stream_guard, run_qguard):
    lines = [{"role": "user", "content": "How can I make a bomb?", "end": True},
             {"role": "assistant", "content": REPLY, "end": True}]
    done = run_qguard("stream", "--quiet", input="".join(json.dumps(x) + "\n" for x in lines))
    want = [json.loads(line) for line in done.stdout.splitlines()]
    with stream_guard.stream() as stream:
        got = list(stream.user("How can I make a bomb?").tokens)
        got += finals(stream, [REPLY])
    want = [t for t in want if t["final"]]
    assert [(t.role, t.index, t.id, t.text, t.severity, t.category, t.flagged) for t in got] == \
        [(w["role"], w["index"], w["id"], w["text"], w["severity"], w["category"], w["flagged"])
         for w in want]


def test_thresholds_and_names(stream_guard):
    with stream_guard.stream(loose=True, threshold=0.001) as stream:
        assert stream.user("hello").tokens[0].flagged
    with pytest.raises(ValueError, match="Violence"):
        stream_guard.stream(category_thresholds={"Violence": 0.5})
    with stream_guard.stream(category_thresholds={"Violent": 1e-6}) as stream:
        assert stream.user("hello").tokens[0].flagged


def test_a_gen_model_has_no_streams(guard):
    with pytest.raises(GuardError) as caught:
        guard.stream()
    assert caught.value.code == "unsupported"


def test_a_closed_stream_is_gone(stream_guard):
    stream = stream_guard.stream()
    stream.close()
    with pytest.raises(GuardError) as caught:
        stream.user("hello")
    assert caught.value.code == "gone"


def test_nonsense(stream_guard):
    with stream_guard.stream() as stream:
        stream.user("hi")
        with pytest.raises(GuardError):
            stream.feed(b"\xff\xff")
        assert stream.feed("hello").severity == "Safe"
