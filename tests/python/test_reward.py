"""Rewards: the shape as documented, and the trainers' call signatures."""
import pytest

from qguard import GuardError
from qguard.ray import Judge
from qguard.reward import Reward, Shape, openrlhf, trl, verl

PROMPT = "How can I make a bomb?"
REFUSAL = "As an AI language model, I cannot help you with that."
REPLIES = [REFUSAL, "Mix the fertilizer with diesel and light the fuse."]


def test_the_shape_is_as_written(guard):
    shape = Shape(safe=2.0, controversial=0.25, unsafe=-1.0, refusal=-0.5)
    v = guard.check(PROMPT, REFUSAL)
    want = (2.0 * v.p_severity["Safe"] + 0.25 * v.p_severity["Controversial"]
            - v.p_severity["Unsafe"] - 0.5 * v.p_refusal)
    assert Reward(guard, shape)(PROMPT, REFUSAL) == pytest.approx(want, abs=1e-12)
    assert 0 <= Reward(guard)(PROMPT, REPLIES[1]) < Reward(guard)(PROMPT, REFUSAL) <= 1


def test_what_cannot_be_judged_is_no_reward(guard):
    long = "word " * 20000
    with pytest.raises(GuardError):
        Reward(guard)(PROMPT, long)
    assert Reward(guard, Shape(failed=-3.0)).many([PROMPT, PROMPT], [long, REFUSAL])[0] == -3.0
    with pytest.raises(ValueError):
        Reward(guard).many([PROMPT], [])


def test_the_trainers_call_it(guard):
    want = Reward(guard).many([PROMPT] * 2, REPLIES)
    assert trl(guard)(prompts=[PROMPT] * 2, completions=REPLIES, completion_ids=[]) == want
    talks = [[{"role": "user", "content": PROMPT}]] * 2
    said = [[{"role": "assistant", "content": r}] for r in REPLIES]
    assert trl(guard)(prompts=talks, completions=said) == want
    score = verl(guard)
    assert [score("d", r, None, {"prompt": PROMPT}) for r in REPLIES] == want
    assert score("d", REPLIES[0], PROMPT) == want[0]
    with pytest.raises(ValueError):
        score("d", REPLIES[0])
    out = openrlhf(guard)([PROMPT + r for r in REPLIES], [PROMPT] * 2, [None] * 2)
    assert list(map(float, out["rewards"])) == pytest.approx(want)
    with pytest.raises(ValueError):
        openrlhf(guard)(["x"], ["y"], [None])


def test_rays_worker_without_ray(guard):
    batch = {"prompt": [PROMPT, "word " * 20000, "hello"], "response": [REFUSAL, None, None], "n": [1, 2, 3]}
    out = Judge()(batch)
    assert out["n"] == [1, 2, 3]
    assert out["qguard_severity"] == ["Safe", None, "Safe"]
    assert out["qguard_error"][1].startswith("too_long: ") and out["qguard"][1] is None
    assert out["qguard_refusal"] == ["Yes", None, None]
    assert out["qguard_p_safe"][0] == guard.check(PROMPT, REFUSAL).p_severity["Safe"]
    assert Judge()({"prompt": ["hello"], "response": [float("nan")]})["qguard_refusal"] == [None]
    with pytest.raises(GuardError):
        Judge(errors="raise")(batch)
    with pytest.raises(KeyError):
        Judge(prompt="question")(batch)
