"""What a judgement says.  Every field is the library's; nothing is computed a second time here."""
from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Sequence

SEVERITIES = ("Safe", "Controversial", "Unsafe")


@dataclass(frozen=True)
class Verdict:
    """One text, judged.  `p_*` are probabilities in [0, 1] that sum to 1 within their group; they are
    empty (None for refusal) when the model wrote its answer by itself (decode="generate")."""

    role: str  #: "user": a prompt was judged; "assistant": a reply
    severity: str  #: "Safe", "Controversial", "Unsafe"; "Unknown" only with decode="generate"
    categories: tuple[str, ...]  #: canonical names, primary first; empty for None
    refusal: Optional[bool]  #: of a reply: does it refuse?  None for a prompt
    p_severity: Mapping[str, float]
    p_categories: Mapping[str, float]  #: "None" last
    p_refusal: Optional[float]
    text: str  #: exactly what the model writes: "Safety: Unsafe\nCategories: Violent"
    input_tokens: int
    cached_tokens: int
    model: str
    source: str = "model"
    wire: str = field(default="", repr=False, compare=False)  #: the verdict object, see json()

    @property
    def safe(self) -> bool:
        """The most probable severity is Safe."""
        return self.severity == "Safe"

    def hit(self, loose: bool = False) -> bool:
        """Strict: anything but Safe; loose: only Unsafe.  What is unknown is always a hit."""
        return self.severity not in (("Safe", "Controversial") if loose else ("Safe",))

    def json(self) -> str:
        """The verdict object as one compact line: the bytes that `qguard check --json` prints."""
        return self.wire

    def to_dict(self) -> dict[str, Any]:
        """The verdict object."""
        return json.loads(self.wire)


def verdict_of(wire: bytes, text: str) -> Verdict:
    """From the library's verdict object."""
    raw = json.loads(wire)
    p = raw.get("p") or {}
    tokens = raw["tokens"]
    refusal = raw["refusal"]
    return Verdict(
        role=raw["role"], severity=raw["severity"], categories=tuple(raw["categories"]),
        refusal=None if refusal is None else refusal == "Yes",
        p_severity=p.get("severity") or {}, p_categories=p.get("categories") or {},
        p_refusal=p.get("refusal"), text=text, input_tokens=tokens["input"],
        cached_tokens=tokens["cached"], model=raw["model"], source=raw.get("source", "model"),
        wire=wire.decode())


@dataclass(frozen=True)
class Token:
    """One token of a stream, judged."""

    role: str
    index: int  #: position in the conversation's tokens
    id: int
    text: str
    begin: int  #: code points [begin, end) of the turn's text that it covers
    end: int
    severity: str
    category: Optional[str]  #: None while Safe
    p_severity: Mapping[str, float]
    p_category: Mapping[str, float]  #: given that it is not Safe
    hit: bool
    flagged: bool  #: this token and the one before it are hits
    final: bool  #: False: more text may change it; then it is judged again


@dataclass(frozen=True)
class Judged:
    """What one piece of a stream came to."""

    tokens: Sequence[Token]  #: those that became final, then those that are provisional
    flagged: bool
    severity: str  #: of the first flagged token; "Safe" while there is none
    category: Optional[str]
    flagged_begin: int  #: its code points in the turn's text
    flagged_end: int
