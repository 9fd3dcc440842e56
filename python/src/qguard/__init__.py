"""Judge prompts and replies with the Qwen3Guard models, on the CPU, in this process.

    from qguard import Guard

    guard = Guard("Qwen/Qwen3Guard-Gen-0.6B")       # a directory, a .gguf file, a pulled name
    verdict = guard.check("How can I make a bomb?")
    print(verdict.severity, verdict.categories, verdict.p_severity["Unsafe"])
"""
from ._native import VERSION as __version__
from .errors import BusyError, DeadlineError, GuardError, TooLongError
from .guard import Guard
from .stream import Stream
from .verdict import Judged, Token, Verdict

__all__ = ["Guard", "Stream", "Verdict", "Token", "Judged", "GuardError", "TooLongError", "BusyError",
           "DeadlineError", "__version__"]
