"""The library through cffi in ABI mode.  Its declarations are read from the header itself, so the two
cannot drift apart: the wheel carries both, side by side."""
from __future__ import annotations

import ctypes.util
import os
import pathlib
import re

import cffi

from .errors import error_of

_HERE = pathlib.Path(__file__).resolve().parent


def _paths() -> tuple[str, pathlib.Path]:
    """Library and header: QGUARD_LIBRARY and QGUARD_HEADER, else the wheel's own, else the system's
    (`make install`)."""
    library = os.environ.get("QGUARD_LIBRARY")
    header = os.environ.get("QGUARD_HEADER")
    bundled = _HERE / "native"
    if library is None and (bundled / "libqguard.so").is_file():
        library = str(bundled / "libqguard.so")
    if library is None:
        library = ctypes.util.find_library("qguard")
    if library is None:
        raise ImportError("libqguard.so is not there: install the wheel, or set QGUARD_LIBRARY")
    places = [pathlib.Path(header)] if header else [
        bundled / "qguard.h", _HERE.parents[2] / "include" / "qguard.h",
        pathlib.Path("/usr/include/qguard.h"), pathlib.Path("/usr/local/include/qguard.h")]
    for place in places:
        if place.is_file():
            return library, place
    raise ImportError("qguard.h is not there: install the wheel, or set QGUARD_HEADER")


def declarations(header: str) -> str:
    """What cffi wants of a C header: no comments, no preprocessor lines, no attributes."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", header, flags=re.S)
    text = re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*$", "", text, flags=re.M)
    text = re.sub(r'extern "C" \{', "", text).replace("QG_API", "")
    text = re.sub(r"\n\}\s*$", "\n", text.rstrip())  # of extern "C"
    return re.sub(r"(\b\d+)u\b", r"\1", text)


_library_path, _header_path = _paths()
_header = _header_path.read_text()
VERSION = re.search(r'#define QG_VERSION "([^"]+)"', _header)[1]

ffi = cffi.FFI()
ffi.cdef(declarations(_header))
lib = ffi.dlopen(_library_path)


def status_name(status: int) -> str:
    """The short name of a status, "ok" for success."""
    return ffi.string(lib.qg_status_name(status)).decode()


def check(status: int, err) -> None:
    """Raises what err says unless all is well."""
    if status != lib.QG_OK:
        raise error_of(status_name(status), ffi.string(err.msg).decode("utf-8", "replace"))


def text(string: str | bytes, keep: list):
    """A qg_text; keep holds its bytes while the call lasts.  A lone surrogate, which is no text, is
    passed on as bytes that the library refuses."""
    if not isinstance(string, (str, bytes)):
        raise TypeError(f"text is a string, not {type(string).__name__}")
    raw = string.encode("utf-8", "surrogatepass") if isinstance(string, str) else string
    held = ffi.from_buffer("char[]", raw)
    keep.append(held)
    return {"p": held, "n": len(raw)}


def word(string: str | None, keep: list):
    """A 0-terminated string, NULL for None."""
    if string is None:
        return ffi.NULL
    raw = string.encode()
    if b"\0" in raw:
        raise ValueError("a name may not hold a zero byte")
    held = ffi.new("char[]", raw)
    keep.append(held)
    return held
