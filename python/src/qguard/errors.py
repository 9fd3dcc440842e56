"""What can go wrong, as exceptions."""
from __future__ import annotations


class GuardError(Exception):
    """A text could not be judged, or a model not opened.  `code` is the library's short name of the
    cause, as the server's errors carry it: "invalid_argument", "out_of_memory", "io_error",
    "bad_format", "unsupported", "too_long", "template_error", "overloaded", "deadline_exceeded",
    "cancelled", "closed", "internal_error", "gone".  No verdict is ever made up in its place."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self):  # pickled by Ray and multiprocessing
        return type(self), (self.code, self.message)


class TooLongError(GuardError, ValueError):
    """More tokens than the model's context holds; nothing is cut."""


class BusyError(GuardError):
    """The queue is full: try again later."""


class DeadlineError(GuardError, TimeoutError):
    """The time-out passed before the verdict."""


_CLASSES = {"too_long": TooLongError, "overloaded": BusyError, "deadline_exceeded": DeadlineError}


def error_of(code: str, message: str) -> GuardError:
    """The exception for a status."""
    return _CLASSES.get(code, GuardError)(code, message)
