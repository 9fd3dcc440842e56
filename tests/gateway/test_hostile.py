"""A bounded share of the streams of hostile.py; the whole is a long run: `python tests/gateway/hostile.py --streams 10000`."""
import asyncio

import hostile
import pytest


def test_no_byte_leaves_before_its_verdict(fake_gateway_binary):
    faults, counts = asyncio.run(hostile.run(fake_gateway_binary, 1, 250))
    assert not faults, "\n".join(faults)
    assert sum(counts.values()) == 250


def test_open_streams_end_as_documented(fake_gateway_binary):
    faults, _ = asyncio.run(hostile.run(fake_gateway_binary, 1000, 120, opened=True))
    assert not faults, "\n".join(faults)


def test_shadow_mode_changes_no_byte(fake_gateway_binary):
    """Among them an answer without a body, and events of 5 MB."""
    faults, _ = asyncio.run(hostile.run(fake_gateway_binary, 300, 110, shadow=True))
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("seed", [1, 4, 8])
def test_the_check_sees_a_byte_too_many(seed):
    """The checker itself: what had one verdict less, or left a moment earlier, is seen."""
    plan = hostile.Plan(seed)
    heard = hostile.Heard()
    heard.feed(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(plan.body()), plan.body()))
    sent = {lane: plan.text(lane).encode() for lane in plan.lanes}
    early = min(when[0][0] for when in heard.when.values())
    whole = [(early - 1, len(text), text) for text in sent.values()]
    plan.hits, plan.fault = [], "vanish"
    assert not any(b"bomb" in text for text in sent.values()), "choose a seed without a hit"
    hostile.check(plan, heard, {plan.seed: whole}, {plan.seed: "gone"})
    for log in ([(at, n - 1, text) for at, n, text in whole], [(at + 10**9, n, text) for at, n, text in whole], []):
        with pytest.raises(AssertionError, match="had left"):
            hostile.check(plan, heard, {plan.seed: log}, {plan.seed: "gone"})
