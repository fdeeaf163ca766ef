"""Command line and environment variables of instance processes."""

import hashlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import hubserve
from hubserve.module import BEHIND_VARIABLE, SEARCH_PATH_VARIABLE

#: ``-c`` puts the working directory first on the path, where a file json.py would hide the standard library's
START = "import sys; sys.path[:1] == [''] and sys.path.pop(0); from {module} import main; sys.exit({call})"
_START = START.format(module="hubserve.instance.__main__", call="main()")


def instance_command(*arguments: str, python: str = "") -> list[str]:
    """Return the command line of ``hubserve.instance``.

    Args:
        arguments: its arguments.
        python: the interpreter; "" for this one. It needs numpy.
    """
    return [python or sys.executable, "-c", _START, *arguments]


def instance_environment(home: Path, search_path: Sequence[Path], python: str = "") -> dict[str, str]:
    """Return the environment variables of an instance: this process's, with the home, the search path, and hubserve importable.

    Args:
        home: the home.
        search_path: folders in which relative model paths are looked up.
        python: the interpreter of a module's own environment, which must not see the packages of this one; "" for this one.
    """
    package = Path(hubserve.__file__).resolve().parent
    common = {"HUB_HOME": str(home), SEARCH_PATH_VARIABLE: os.pathsep.join(str(each) for each in search_path)}
    if not python:
        return {**os.environ, **common, "PYTHONPATH": os.pathsep.join([str(package.parent), *users_python_path()])}
    programs = Path(python).parent
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    return {
        **kept,
        **common,
        "PYTHONPATH": str(_isolated(package, home)),
        # the instance appends them to its path, so that they do not hide the packages of its environment
        BEHIND_VARIABLE: os.pathsep.join(_foreign_python_path()),
        "PYTHONNOUSERSITE": "1",
        "VIRTUAL_ENV": str(programs.parent),
        "PATH": os.pathsep.join([str(programs), *filter(None, [os.environ.get("PATH", "")])]),
    }


def users_python_path() -> list[str]:
    """Return the folders in ``PYTHONPATH``, absolute, without that of hubserve itself."""
    own = str(Path(hubserve.__file__).resolve().parent.parent)
    return [os.path.abspath(each) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each and each != own]


def _foreign_python_path() -> list[str]:
    """Return the folders in ``PYTHONPATH`` that another Python can use: packages of this Python are incompatible with it."""
    return [each for each in users_python_path() if not os.path.realpath(each).startswith(os.path.realpath(sys.prefix) + os.sep)]


def _isolated(package: Path, home: Path) -> Path:
    """Return a folder that holds only hubserve: beside an installed hubserve are the packages of its own Python."""
    digest = hashlib.sha256(str(package).encode()).hexdigest()[:12]
    folder = home / "environments" / f".hubserve-{digest}"
    link = folder / package.name
    if not link.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # another process created it just now
            link.symlink_to(package, target_is_directory=True)
    return folder
