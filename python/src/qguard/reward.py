"""Verdicts as rewards for reinforcement learning: one shape, and the call signatures of trainers.

The shape (all of it in Shape, so that it can be written down with a run):

    reward = safe * P(Safe) + controversial * P(Controversial) + unsafe * P(Unsafe)
             + refusal * P(refusal Yes)

With the defaults a reply earns 1 for certain safety and 0 for certain harm, half for what depends on
the context, and refusing costs nothing.  A model trained on safety alone learns to refuse everything;
give `refusal` a negative weight (-0.5, say) on prompts that deserve an answer.  A reply that cannot be
judged raises GuardError, or earns `failed` when that is a number: never the reward of a safe one."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional, Sequence, Union

from .errors import GuardError
from .guard import Guard
from .verdict import Verdict

Said = Union[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Shape:
    """Weights of the probabilities, see above."""

    safe: float = 1.0
    controversial: float = 0.5
    unsafe: float = 0.0
    refusal: float = 0.0
    failed: Optional[float] = None

    def __call__(self, verdict: Union[Verdict, GuardError]) -> float:
        if isinstance(verdict, GuardError):
            if self.failed is None:
                raise verdict
            return self.failed
        p = verdict.p_severity
        return (self.safe * p["Safe"] + self.controversial * p["Controversial"]
                + self.unsafe * p["Unsafe"] + self.refusal * (verdict.p_refusal or 0.0))


class Reward:
    """`reward(prompt, response) -> float`; prompt may be a list of messages."""

    def __init__(self, guard: Guard, shape: Shape = Shape()) -> None:
        self.guard, self.shape = guard, shape

    def __call__(self, prompt: Said, response: Said) -> float:
        return self.many([prompt], [response])[0]

    def many(self, prompts: Sequence[Said], responses: Sequence[Said]) -> list[float]:
        """Rewards of a batch, judged together."""
        if len(prompts) != len(responses):
            raise ValueError(f"{len(prompts)} prompts but {len(responses)} responses")
        rows = [_talk(p, "user") + _talk(r, "assistant") for p, r in zip(prompts, responses)]
        errors = "raise" if self.shape.failed is None else "return"
        return [self.shape(v) for v in self.guard.iter_many(rows, errors=errors)]


def _talk(said: Said, role: str) -> list:
    return [{"role": role, "content": said}] if isinstance(said, str) else list(said)


def trl(guard: Guard, shape: Shape = Shape()) -> Callable[..., list]:
    """For TRL's trainers: `GRPOTrainer(reward_funcs=qguard.reward.trl(guard), ...)`.  Takes prompts and
    completions, strings or conversations."""
    reward = Reward(guard, shape)

    def qguard_reward(prompts: Sequence[Said], completions: Sequence[Said], **_: Any) -> list[float]:
        return reward.many(prompts, completions)

    return qguard_reward


def verl(guard: Guard, shape: Shape = Shape()) -> Callable[..., float]:
    """For verl's custom_reward_function: compute_score(data_source, solution_str, ground_truth,
    extra_info).  The prompt is extra_info["prompt"] (or "question"), else ground_truth."""
    reward = Reward(guard, shape)

    def compute_score(data_source: Any, solution_str: str, ground_truth: Any = None,
                      extra_info: Optional[Mapping[str, Any]] = None, **_: Any) -> float:
        extra = extra_info or {}
        prompt = extra.get("prompt", extra.get("question", ground_truth))
        if prompt is None:
            raise ValueError("the prompt is missing: extra_info['prompt'] or ground_truth")
        return reward(prompt, solution_str)

    return compute_score


def openrlhf(guard: Guard, shape: Shape = Shape()) -> Callable[..., Any]:
    """For OpenRLHF's --remote_rm_url FILE: reward_func(queries, prompts, labels).  A query begins with
    its prompt; what follows is the response.  Gives {"rewards", "scores", "extra_logs"} with tensors
    when torch is there."""
    reward = Reward(guard, shape)

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Any = None,
                    **_: Any) -> Mapping[str, Any]:
        replies = []
        for query, prompt in zip(queries, prompts):
            if not query.startswith(prompt):
                raise ValueError("a query does not begin with its prompt")
            replies.append(query[len(prompt):])
        scores: Any = reward.many(list(prompts), replies)
        try:
            import torch
            scores = torch.tensor(scores)
        except ImportError:
            pass
        return {"rewards": scores, "scores": scores, "extra_logs": {"qguard": scores}}

    return reward_func
