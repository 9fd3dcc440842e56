"""The parts of a wheel that pyproject.toml cannot say: it holds a native library, but no code that
depends on the version of Python.  tools/wheel puts library and header into src/qguard/native first."""
import pathlib
import re

from setuptools import Distribution, setup
from wheel.bdist_wheel import bdist_wheel

NATIVE = pathlib.Path(__file__).parent / "src" / "qguard" / "native"


def version():
    """The library's own, from the header that is shipped with it."""
    header = NATIVE / "qguard.h"
    if not header.is_file():
        raise SystemExit("python/src/qguard/native is empty: build the wheel with `make wheel`")
    return re.search(r'#define QG_VERSION "([^"]+)"', header.read_text())[1]


class Native(Distribution):
    """Has a library in it, so the wheel belongs to one platform."""

    def has_ext_modules(self):
        return True


class AnyPython(bdist_wheel):
    """py3-none-PLATFORM: cffi opens the library, nothing is compiled against Python."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


setup(version=version(), distclass=Native, cmdclass={"bdist_wheel": AnyPython})
