"""Where hubserve keeps its things on this machine."""

import os
from pathlib import Path


def home() -> Path:
    """``$HUB_HOME``, or ``~/.paddlehub`` where PaddleHub's users already have theirs."""
    configured = os.environ.get("HUB_HOME")
    return Path(configured).expanduser().absolute() if configured else Path.home() / ".paddlehub"


def modules_dir() -> Path:
    """Installed modules: ``<name>/<version>/``."""
    return home() / "modules"


def cache_dir() -> Path:
    """What can be made again: converted models, engine choices, downloads."""
    return home() / "cache"


def conf_dir() -> Path:
    """Settings, and one ``serving_<port>.json`` for each running server."""
    return home() / "conf"


def tmp_dir() -> Path:
    """Staging; on the same file system as the modules so that a rename is atomic."""
    return home() / "tmp"
