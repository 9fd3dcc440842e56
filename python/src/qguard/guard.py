"""A model, open in this process: check one text, many, or a stream."""
from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import itertools
import os
import threading
import warnings
import weakref
from typing import Any, AsyncIterator, Iterable, Iterator, Mapping, Optional, Sequence, Union

from . import _native
from ._native import ffi, lib
from .errors import BusyError, GuardError, error_of
from .hub import local_model
from .verdict import Verdict, verdict_of

#: What can be judged: a prompt, a (prompt, response) pair, a list of messages, or a mapping with
#: "messages", or with "prompt" and maybe "response".
Row = Union[str, tuple, Sequence[Mapping[str, Any]], Mapping[str, Any]]

_DTYPES = {"auto": 0, "float32": 1, "bfloat16": 2, "int8": 3, "int4": 4}
_KV_DTYPES = {"auto": 0, "bf16": 2, "int8": 3}
_IN_FLIGHT = 256  # jobs of check_many on their way: several passes' worth of short prompts
_guards: "weakref.WeakSet[Guard]" = weakref.WeakSet()


def messages_of(row: Row) -> list[tuple[str, str]]:
    """(role, content) pairs of a row.  Content may be a list of parts of type text."""
    if isinstance(row, str):
        return [("user", row)]
    if isinstance(row, tuple):
        prompt, response = row
        return [("user", prompt), ("assistant", response)]
    if isinstance(row, Mapping):
        if row.get("messages") is not None:
            return messages_of(list(row["messages"]))
        if row.get("prompt") is None:
            raise TypeError('a row needs "messages", or "prompt" and maybe "response"')
        said = [("user", row["prompt"])]
        if row.get("response") is not None:
            said.append(("assistant", row["response"]))
        return said
    row = list(row)
    return [(m["role"], _plain(m.get("content"), last=m is row[-1])) for m in row]


def _plain(content: Any, last: bool) -> str:
    """The text of a message.  One without text is fine within a conversation (a call of a tool), but
    there is nothing to judge in it."""
    if isinstance(content, str):
        return content
    if content is None and not last:
        return ""
    if isinstance(content, list):
        for part in content:
            if not isinstance(part, Mapping) or part.get("type") != "text":
                raise TypeError("only parts of type text can be judged")
        return "".join(part["text"] for part in content)
    raise TypeError("a message's content is a string or a list of text parts")


class _Job:
    """A judgement on its way; the library keeps its verdict until it is fetched."""

    def __init__(self, handle) -> None:
        self.handle = handle

    def cancel(self) -> None:
        lib.qg_cancel(self.handle)

    def __del__(self) -> None:
        lib.qg_job_release(self.handle)


class Guard:
    """A Qwen3Guard-Gen model in this process.  Any number of threads may use it; the interpreter's
    lock is given up while the model works.

    After a fork the child opens the model anew at its first use (threads do not survive a fork), at
    the price of a start; verdicts are the same.

    model: a directory, a .gguf file, a name that was pulled ("Qwen/Qwen3Guard-Gen-0.6B"), or None:
    $QGUARD_MODEL, or else the small built-in demonstration model.  dtype: "auto" (bfloat16),
    "float32", "bfloat16", "int8", "int4".  kv_cache_dtype: "auto", "bf16", "int8".  threads: 0 = one per
    processor.  cache: a directory for packed weights (faster starts).  second_model: asked again where the
    most probable severity has less than second_below; second_dtype None: as dtype.  special_tokens: "text"
    (control-token spellings in content stay text) or "parse"."""

    def __init__(self, model: Optional[Union[str, os.PathLike]] = None, *, dtype: str = "auto",
                 threads: int = 0, cpu: Optional[str] = None, max_model_len: int = 0,
                 kv_bytes: int = 0, special_tokens: str = "text",
                 cache: Optional[Union[str, os.PathLike]] = None, prefix_cache: bool = True,
                 chat_template: Optional[Union[str, os.PathLike]] = None, quiet: bool = False,
                 kv_cache_dtype: str = "auto", second_model: Optional[Union[str, os.PathLike]] = None,
                 second_below: float = 0.7, second_dtype: Optional[str] = None) -> None:
        if kv_cache_dtype not in _KV_DTYPES:
            raise ValueError(f"kv_cache_dtype is one of {', '.join(_KV_DTYPES)}")
        second_dtype = dtype if second_dtype is None else second_dtype
        if dtype not in _DTYPES or second_dtype not in _DTYPES:
            raise ValueError(f"dtype is one of {', '.join(_DTYPES)}")
        if special_tokens not in ("text", "parse"):
            raise ValueError('special_tokens is "text" or "parse"')
        model = os.environ.get("QGUARD_MODEL") if model is None else os.fspath(model)
        self._options = {
            "model": None if not model else local_model(model), "dtype": _DTYPES[dtype],
            "kv_dtype": _KV_DTYPES[kv_cache_dtype],
            "n_threads": threads, "cpu": cpu, "max_model_len": max_model_len, "kv_bytes": kv_bytes,
            "special": int(special_tokens == "parse"), "prefix_cache": prefix_cache,
            "cache": None if cache is None else os.fspath(cache),
            "chat_template": None if chat_template is None else os.fspath(chat_template),
            "second_model": None if second_model is None else local_model(os.fspath(second_model)),
            "second_below": second_below, "second_dtype": _DTYPES[second_dtype]}
        self._reset()
        _guards.add(self)
        self._open()
        if self.builtin and not quiet:
            warnings.warn("qguard: the built-in demonstration model is a toy; for real use give a "
                          "model", stacklevel=2)

    # -- life ------------------------------------------------------------------------------------

    def _reset(self) -> None:
        self._lock = threading.Condition()
        self._engine = ffi.NULL
        self._pid = os.getpid()
        self._users = 0
        self._closed = False
        self._pool: Optional[concurrent.futures.ThreadPoolExecutor] = None
        self._jobs: "weakref.WeakSet[_Job]" = weakref.WeakSet()

    def _open(self) -> None:
        keep: list = []
        opt = ffi.new("qg_options *")
        lib.qg_options_init(opt)
        for name, value in self._options.items():
            if name in ("model", "cpu", "cache", "chat_template", "second_model"):
                value = _native.word(value, keep)
            setattr(opt, name, value)
        out, err = ffi.new("qg_engine **"), ffi.new("qg_err *")
        _native.check(lib.qg_engine_open(out, opt, err), err)
        self._engine = out[0]
        info = ffi.new("qg_model_info *")
        lib.qg_engine_info(self._engine, info)
        self.name = ffi.string(info.name).decode()  #: as verdicts carry it
        self.dtype = ffi.string(info.dtype).decode()
        self.max_model_len = info.max_model_len  #: tokens
        self.builtin, self.is_stream = bool(info.builtin), bool(info.stream)

    def _enter(self):
        """The engine, for one call; close waits until it is given back with _leave."""
        with self._lock:
            if self._closed:
                raise GuardError("closed", "the guard is closed")
            if self._engine == ffi.NULL:  # in the child of a fork
                self._open()
            self._users += 1
            return self._engine

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            self._lock.notify_all()

    def close(self) -> None:
        """Ends what is under way with a GuardError ("cancelled" or "closed") and frees the model."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for job in list(self._jobs):
                job.cancel()
            self._lock.wait_for(lambda: self._users == 0)
            engine, self._engine = self._engine, ffi.NULL
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)
        if engine != ffi.NULL and self._pid == os.getpid():
            lib.qg_engine_close(engine)

    def __enter__(self) -> "Guard":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # at the interpreter's end
            pass

    def __reduce__(self):
        raise TypeError("a Guard cannot be pickled: open one where it is used")

    # -- one -------------------------------------------------------------------------------------

    def check(self, prompt: Optional[Row] = None, response: Optional[str] = None, *,
              messages: Optional[Sequence[Mapping[str, Any]]] = None, decode: str = "verdict",
              timeout: Optional[float] = None) -> Verdict:
        """Judges a prompt, the response to it, or the last of some messages.  timeout in seconds.
        GuardError (TooLongError, BusyError, DeadlineError) when there is no verdict."""
        said = self._said(prompt, response, messages)
        keep: list = []
        req = self._request(said, keep, decode=decode, timeout=timeout)
        engine = self._enter()
        try:
            out, err = ffi.new("qg_result **"), ffi.new("qg_err *")
            _native.check(lib.qg_judge(engine, req, out, err), err)
            return self._verdict(engine, out[0])
        finally:
            self._leave()

    async def acheck(self, prompt: Optional[Row] = None, response: Optional[str] = None, *,
                     messages: Optional[Sequence[Mapping[str, Any]]] = None, decode: str = "verdict",
                     timeout: Optional[float] = None) -> Verdict:
        """check, without blocking the event loop; a cancelled task cancels the work."""
        said = self._said(prompt, response, messages)
        loop = asyncio.get_running_loop()
        job = self._submit(said, decode=decode, timeout=timeout)
        try:
            return await loop.run_in_executor(self._waiters(), self._take, job)
        except asyncio.CancelledError:
            job.cancel()
            raise

    # -- many ------------------------------------------------------------------------------------

    def check_many(self, rows: Iterable[Row], *, errors: str = "raise",
                   timeout: Optional[float] = None) -> list:
        """Verdicts of all rows, in order; many are on their way at once.  errors="return" puts the
        exception in the place of a row that cannot be judged, "raise" raises the first one."""
        return list(self.iter_many(rows, errors=errors, timeout=timeout))

    def iter_many(self, rows: Iterable[Row], *, errors: str = "raise",
                  timeout: Optional[float] = None) -> Iterator:
        """The same, one by one as rows come: memory does not grow with their number."""
        if errors not in ("raise", "return"):
            raise ValueError('errors is "raise" or "return"')
        under_way: collections.deque = collections.deque()
        rows = iter(rows)
        more = True
        try:
            while more or under_way:
                while more and len(under_way) < _IN_FLIGHT:
                    row = next(rows, _END)
                    if row is _END:
                        more = False
                        break
                    job = self._begin(row, timeout)
                    if isinstance(job, BusyError) and under_way:
                        rows = itertools.chain([row], rows)  # the queue is full: fetch one first
                        break
                    under_way.append(job)
                if under_way:
                    yield self._end(under_way.popleft(), errors)
        finally:
            for job in under_way:
                if isinstance(job, _Job):
                    job.cancel()

    def _begin(self, row: Row, timeout: Optional[float]) -> Union[_Job, GuardError]:
        try:
            return self._submit(messages_of(row), bulk=True, timeout=timeout)
        except GuardError as e:
            return e
        except (TypeError, KeyError, ValueError) as e:
            return GuardError("invalid_argument", f"not a row that can be judged: {e}")

    def _end(self, job: Union[_Job, GuardError], errors: str) -> Union[Verdict, GuardError]:
        try:
            if isinstance(job, GuardError):
                raise job
            return self._take(job)
        except GuardError as e:
            if errors == "raise":
                raise
            return e

    async def acheck_many(self, rows: Iterable[Row], *, errors: str = "raise",
                          timeout: Optional[float] = None) -> AsyncIterator:
        """iter_many for event loops: `async for verdict in guard.acheck_many(rows)`."""
        ahead = self.iter_many(rows, errors=errors, timeout=timeout)
        try:
            while True:
                verdict = await asyncio.to_thread(next, ahead, _END)
                if verdict is _END:
                    return
                yield verdict
        finally:
            await asyncio.to_thread(ahead.close)

    # -- streams ---------------------------------------------------------------------------------

    def stream(self, *, loose: bool = False, threshold: float = 0.0,
               category_thresholds: Optional[Mapping[str, float]] = None,
               idle_seconds: float = 300.0) -> "Stream":
        """A conversation that is judged token by token while it is written (Stream models)."""
        from .stream import Stream
        return Stream(self, loose=loose, threshold=threshold,
                      category_thresholds=category_thresholds or {}, idle_seconds=idle_seconds)

    # -- inside ----------------------------------------------------------------------------------

    @staticmethod
    def _said(prompt, response, messages) -> list[tuple[str, str]]:
        if messages is not None:
            if prompt is not None or response is not None:
                raise TypeError("messages, or a prompt and maybe a response; not both")
            return messages_of(list(messages))
        if prompt is None:
            raise TypeError("nothing to judge")
        if response is not None:
            return messages_of({"prompt": prompt, "response": response})
        return messages_of(prompt)

    @staticmethod
    def _request(said, keep, *, decode="verdict", timeout=None, bulk=False):
        if decode not in ("verdict", "generate"):
            raise ValueError('decode is "verdict" or "generate"')
        req = ffi.new("qg_request *")
        lib.qg_request_init(req)
        array = ffi.new("qg_message[]", [
            {"role": _native.word(role, keep), "content": _native.text(content, keep)}
            for role, content in said])
        keep.append(array)
        req.messages, req.n_messages = array, len(said)
        req.decode = int(decode == "generate")
        req.priority = int(bulk)
        if timeout is not None:
            req.deadline_us = lib.qg_now_us() + max(1, int(timeout * 1e6))
        return req

    def _submit(self, said, **how) -> _Job:
        keep: list = []
        req = self._request(said, keep, **how)
        engine = self._enter()
        try:
            job, err = ffi.new("qg_job **"), ffi.new("qg_err *")
            _native.check(lib.qg_submit(engine, req, ffi.NULL, ffi.NULL, job, err), err)
            return self._track(_Job(job[0]))
        finally:
            self._leave()

    def _track(self, job: _Job) -> _Job:
        self._jobs.add(job)
        return job

    def _take(self, job: _Job) -> Verdict:
        """Waits for a job's verdict."""
        engine = self._enter()
        try:
            out, err = ffi.new("qg_result **"), ffi.new("qg_err *")
            _native.check(lib.qg_job_wait(job.handle, out, err), err)
            return self._verdict(engine, out[0])
        finally:
            self._leave()

    def _waiters(self) -> concurrent.futures.ThreadPoolExecutor:
        """Threads that wait for acheck's verdicts; as many as can be under way at a time."""
        with self._lock:
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(_IN_FLIGHT, "qguard")
            return self._pool

    def _verdict(self, engine, result) -> Verdict:
        """Takes result."""
        try:
            wire = lib.qg_result_json(engine, result)
            if wire == ffi.NULL:
                raise error_of("out_of_memory", "out of memory")
            try:
                said = ffi.unpack(result.text, result.text_bytes).decode("utf-8", "replace") \
                    if result.text_bytes else ""
                return verdict_of(ffi.string(wire), said)
            finally:
                lib.qg_free(wire)
        finally:
            lib.qg_result_free(result)


_END = object()


def _after_fork() -> None:
    """In the child: the engine's threads are the parent's; its memory here is left alone."""
    for guard in list(_guards):
        if not guard._closed:
            guard._reset()


os.register_at_fork(after_in_child=_after_fork)
