"""Paths of hubserve's folders on this machine."""

import os
from pathlib import Path


def home() -> Path:
    """Return ``$HUB_HOME``, or ``~/.paddlehub``, the home that users of PaddleHub already have."""
    configured = os.environ.get("HUB_HOME")
    return Path(configured).expanduser().absolute() if configured else Path.home() / ".paddlehub"


def modules_dir() -> Path:
    """Return the folder of installed modules, ``<name>/<version>/``."""
    return home() / "modules"


def cache_dir() -> Path:
    """Return the folder of data that can be rebuilt: converted models, engine choices, downloads."""
    return home() / "cache"


def conf_dir() -> Path:
    """Return the folder of settings, with one ``serving_<port>.json`` for each running server."""
    return home() / "conf"


def tmp_dir() -> Path:
    """Return the staging folder, on the same file system as the modules so that a rename is atomic."""
    return home() / "tmp"
