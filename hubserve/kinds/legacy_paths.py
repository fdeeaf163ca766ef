"""PaddleHub's layout of installed modules, ``<name>/<files>``, for modules that find their files by that path.

About one published module in twenty opens ``MODULE_HOME/<its own name>/...``. A home holds several versions of a module, so such modules
get a folder of links instead: each name leads to the version that runs in this process, else to the current one.
"""

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Dict

from hubserve.kinds.import_hooks import LOADED
from hubserve.kinds.versions import current_version
from hubserve.paths import home, modules_dir, tmp_dir

_FOLDER = "module_home"


def module_home() -> Path:
    """Return the folder of links for this process; the modules folder itself if it cannot be made."""
    links = {**_installed(), **LOADED}
    if not links:
        return modules_dir()
    own = "|".join(f"{name}={_version_key(folder)}" for name, folder in sorted(LOADED.items()))
    view = home() / _FOLDER / hashlib.sha256(own.encode()).hexdigest()[:16]
    try:
        view.mkdir(parents=True, exist_ok=True)
        for name, folder in links.items():
            _link(view / name, folder)
    except OSError:  # a home that cannot be written
        return modules_dir()
    _remove_stale(view)
    return view


def _installed() -> Dict[str, Path]:
    with suppress(OSError):
        names = [each.name for each in modules_dir().iterdir() if each.is_dir() and not each.name.startswith((".", "__"))]
        found = {name: current_version(name) for name in names}
        return {name: folder for name, folder in found.items() if folder is not None}
    return {}


def _version_key(folder: Path) -> str:
    """Return a key of a module's version; all staging folders share one, because an install tries one module at a time."""
    return "staging" if tmp_dir() in folder.parents else str(folder)


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and os.readlink(str(link)) == str(target):
        return
    partial = link.with_name(f".{link.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        partial.unlink()
    partial.symlink_to(target, target_is_directory=True)
    os.replace(str(partial), str(link))  # another process may make the same link


def _remove_stale(kept: Path) -> None:
    """Delete the links of processes whose module is no longer installed."""
    for each in kept.parent.iterdir():
        links = list(each.glob("*"))
        if each != kept and links and not any(link.exists() for link in links):
            shutil.rmtree(str(each), ignore_errors=True)
