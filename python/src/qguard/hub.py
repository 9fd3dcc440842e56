"""Names of models that were pulled, by `qguard pull` or by huggingface_hub: both keep one layout."""
from __future__ import annotations

import os
import pathlib
import re

from .errors import GuardError

_BUILT_IN = ("qguard-demo", "qguard-demo-stream")


def _cache() -> pathlib.Path:
    """Hugging Face's folder of models, by the usual variables."""
    for name, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if os.environ.get(name):
            return pathlib.Path(os.environ[name]).expanduser() / below
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(home).expanduser() / "huggingface" / "hub"


def local_model(model: str) -> str:
    """A path stays as it is; "Qwen/Qwen3Guard-Gen-0.6B" becomes its snapshot in the cache.  Nothing is
    downloaded: a name that was not pulled is an error that says how to."""
    if model in _BUILT_IN or os.path.exists(model) or not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        return model
    folder = _cache() / ("models--" + model.replace("/", "--"))
    try:
        commit = (folder / "refs" / "main").read_text().strip()
    except OSError:
        commit = ""
    snapshot = folder / "snapshots" / commit
    if not commit or not (snapshot / "config.json").is_file():
        raise GuardError("io_error", f"{model} is neither a path nor a model that was pulled; run "
                               f"`qguard pull {model}`")
    return str(snapshot)
