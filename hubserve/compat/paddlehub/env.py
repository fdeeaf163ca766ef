"""``paddlehub.env``: folders of the home, under PaddleHub's names; each is created on first use, because modules expect it to exist."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from hubserve import paths as _home
from hubserve.kinds.legacy_paths import module_home

HUB_HOME = str(_home.home())
USER_HOME = str(Path.home())

_FOLDERS = {
    "CACHE_HOME": "cache",
    "CONF_HOME": "conf",
    "DATA_HOME": "dataset",
    "LOG_HOME": "log",
    "SOURCES_HOME": "sources",
    "THIRD_PARTY_HOME": "thirdparty",
    "TMP_HOME": "tmp",
}


def __getattr__(name: str) -> Any:
    """Return a folder; ``MODULE_HOME`` holds each module's files as ``<name>/...``, see :mod:`hubserve.kinds.legacy_paths`."""
    if name == "MODULE_HOME":
        return str(module_home())
    if name not in _FOLDERS:
        raise AttributeError(f"module 'paddlehub.env' has no attribute '{name}'")
    folder = str(_home.home() / _FOLDERS[name])
    with suppress(OSError):  # a home that cannot be written
        os.makedirs(folder, exist_ok=True)
    return folder
