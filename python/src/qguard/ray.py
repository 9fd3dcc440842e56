"""Judging data sets on a cluster: `ds.map_batches(qguard.ray.Judge, concurrency=2, ...)`."""
from __future__ import annotations

from typing import Any, Mapping, Optional

from .errors import GuardError
from .guard import Guard


def _missing(value: Any) -> bool:
    """None, or what pandas puts in its place: a number that is not itself."""
    return value is None or value != value


class Judge:
    """One worker: opens the model once, then adds columns to each batch (a dict of columns):

        qguard_severity     "Safe", "Controversial", "Unsafe"; None where there is no verdict
        qguard_categories   list of names, empty for None
        qguard_refusal      "Yes", "No", or None for a prompt
        qguard_p_unsafe, qguard_p_controversial, qguard_p_safe
        qguard_error        None, or why there is no verdict ("too_long: …")
        qguard              the verdict object as JSON, as every other surface of qguard gives it

        ds.map_batches(Judge, concurrency=2, num_cpus=2, batch_size=256,
                       fn_constructor_kwargs={"model": "Qwen/Qwen3Guard-Gen-0.6B", "threads": 2})

    prompt, response, messages: names of the columns to judge (messages wins where the batch has it;
    response may be missing).  A row that cannot be judged is marked, never dropped or made safe;
    errors="raise" ends the task instead.  Other arguments go to Guard."""

    def __init__(self, model: Optional[str] = None, *, prompt: str = "prompt",
                 response: str = "response", messages: str = "messages", errors: str = "return",
                 **guard: Any) -> None:
        if errors not in ("raise", "return"):
            raise ValueError('errors is "raise" or "return"')
        self._columns = prompt, response, messages
        self._errors = errors
        self._guard = Guard(model, quiet=True, **guard)

    def _rows(self, batch: Mapping[str, Any]) -> list:
        prompt, response, messages = self._columns
        if messages in batch:
            return [{"messages": [dict(m) for m in talk]} for talk in batch[messages]]
        if prompt not in batch:
            raise KeyError(f"the batch has neither {messages!r} nor {prompt!r}")
        replies = batch[response] if response in batch else [None] * len(batch[prompt])
        return [{"prompt": p, "response": None if _missing(r) else r}
                for p, r in zip(batch[prompt], replies)]

    def __call__(self, batch: Mapping[str, Any]) -> dict:
        verdicts = self._guard.check_many(self._rows(batch), errors=self._errors)
        out = dict(batch)
        columns: dict = {name: [] for name in (
            "qguard_severity", "qguard_categories", "qguard_refusal", "qguard_p_safe",
            "qguard_p_controversial", "qguard_p_unsafe", "qguard_error", "qguard")}
        for v in verdicts:
            bad = isinstance(v, GuardError)
            p = {} if bad else v.p_severity
            row = (None if bad else v.severity, [] if bad else list(v.categories),
                   None if bad or v.refusal is None else ("Yes" if v.refusal else "No"),
                   p.get("Safe"), p.get("Controversial"), p.get("Unsafe"),
                   f"{v.code}: {v.message}" if bad else None, None if bad else v.json())
            for column, value in zip(columns.values(), row):
                column.append(value)
        out.update(columns)
        return out
