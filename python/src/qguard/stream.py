"""Conversations that are judged token by token while they are written (Qwen3Guard-Stream)."""
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Mapping, Optional

from . import _native
from ._native import ffi, lib
from .errors import GuardError, error_of
from .verdict import SEVERITIES, Judged, Token

if TYPE_CHECKING:
    from .guard import Guard


class Stream:
    """One conversation.  Say what the user said, then feed the reply piece by piece:

        with guard.stream() as stream:
            stream.user("How can I make a bomb?")
            for piece in reply:                     # cut anywhere
                if stream.feed(piece).flagged:
                    break
            stream.end()

    Each call returns what its text came to.  One thread at a time; other streams and checks share
    the model meanwhile.  GuardError "gone": the memory went to others after idle_seconds; begin a
    new stream with the whole text."""

    def __init__(self, guard: "Guard", *, loose: bool, threshold: float,
                 category_thresholds: Mapping[str, float], idle_seconds: float) -> None:
        self._guard = guard
        self._session = ffi.NULL
        limits = ffi.new("qg_thresholds *")
        lib.qg_thresholds_init(limits)
        limits.loose, limits.unsafe = loose, threshold
        names = _categories()
        for name, value in category_thresholds.items():
            if name not in names:
                raise ValueError(f"{name!r} is none of {', '.join(names)}")
            limits.category[names.index(name)] = value
        opt = ffi.new("qg_session_options *")
        lib.qg_session_options_init(opt)
        opt.thresholds, opt.idle_ms = limits, int(idle_seconds * 1000)
        engine = guard._enter()
        try:
            out, err = ffi.new("qg_session **"), ffi.new("qg_err *")
            _native.check(lib.qg_session_open(out, engine, opt, err), err)
            self._session, self._engine = out[0], engine
        finally:
            guard._leave()

    def user(self, text: str) -> Judged:
        """A whole user turn: one verdict, at its end."""
        return self._append("user", text, end=True)

    def system(self, text: str) -> Judged:
        """A whole system turn, before the first user turn; nothing in it is judged."""
        return self._append("system", text, end=True)

    def feed(self, text: "str | bytes") -> Judged:
        """The next piece of the assistant's turn; bytes may be cut inside a character."""
        return self._append("assistant", text, end=False)

    def end(self) -> Judged:
        """The assistant's turn is over: what was provisional is final."""
        return self._append("assistant", "", end=True)

    async def auser(self, text: str) -> Judged:
        """user, without blocking the event loop; so are the next two."""
        return await asyncio.to_thread(self.user, text)

    async def afeed(self, text: "str | bytes") -> Judged:
        return await asyncio.to_thread(self.feed, text)

    async def aend(self) -> Judged:
        return await asyncio.to_thread(self.end)

    def close(self) -> None:
        """Gives the conversation's memory back."""
        session, self._session = self._session, ffi.NULL
        if session != ffi.NULL and self._engine == self._guard._engine:
            lib.qg_session_close(session)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # at the interpreter's end
            pass

    def _append(self, role: str, text: "str | bytes", end: bool) -> Judged:
        keep: list = []
        append = ffi.new("qg_append *")
        lib.qg_append_init(append)
        append.role = _native.word(role, keep)
        append.content = _native.text(text, keep)
        append.end = end
        engine = self._guard._enter()
        try:
            if self._session == ffi.NULL or engine != self._engine:
                raise GuardError("gone", "the stream is closed, or began before a fork")
            out, err = ffi.new("qg_stream_result **"), ffi.new("qg_err *")
            _native.check(lib.qg_session_judge(self._session, append, out, err), err)
            try:
                return _judged(out[0])
            finally:
                lib.qg_stream_result_free(out[0])
        finally:
            self._guard._leave()


def _categories() -> list:
    names = []
    while lib.qg_category_name(len(names)) != ffi.NULL:
        names.append(ffi.string(lib.qg_category_name(len(names))).decode())
    return names


def _string(p) -> Optional[str]:
    return None if p == ffi.NULL else ffi.string(p).decode("utf-8", "replace")


def _severity(number: int) -> str:
    name = _string(lib.qg_severity_name(number))
    if name not in SEVERITIES:
        raise error_of("internal_error", f"severity {number}")
    return name


def _token(t) -> Token:
    return Token(
        role=_string(t.role), index=t.index, id=t.id,
        text=ffi.unpack(t.text, t.text_bytes).decode("utf-8", "replace") if t.text_bytes else "",
        begin=t.begin, end=t.end, severity=_severity(t.severity), category=_string(t.category),
        p_severity=dict(zip(SEVERITIES, t.p_severity)),
        p_category={_string(t.p_category_names[i]): t.p_categories[i]
                    for i in range(t.n_p_categories)},
        hit=bool(t.hit), flagged=bool(t.flagged), final=bool(t.final))


def _judged(r) -> Judged:
    return Judged(
        tokens=[_token(r.tokens[i]) for i in range(r.n_tokens)], flagged=bool(r.flagged),
        severity=_severity(r.severity), category=_string(r.category),
        flagged_begin=r.flagged_begin, flagged_end=r.flagged_end)
