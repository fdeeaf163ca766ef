"""How the registry starts an instance process."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hubserve
from hubserve.module import SEARCH_PATH_VARIABLE

#: ``-c`` puts the working directory first on the path, where a stray json.py would be imported instead of the real one
_START = "import sys; sys.path[:1] == [''] and sys.path.pop(0); from hubserve.instance.__main__ import main; sys.exit(main())"


def instance_command(*arguments: str, python: str = "") -> list[str]:
    """The command line of ``hubserve.instance``.

    Args:
        arguments: its arguments.
        python: the interpreter; "" for this one. It needs numpy.
    """
    return [python or sys.executable, "-c", _START, *arguments]


def instance_environment(home: Path, search_path: Sequence[Path]) -> dict[str, str]:
    """This process's environment, with the home, the search path for models, and hubserve itself importable."""
    package = str(Path(hubserve.__file__).resolve().parent.parent)
    inherited = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each and each != package]
    return {
        **os.environ,
        "HUB_HOME": str(home),
        "PYTHONPATH": os.pathsep.join([package, *inherited]),
        SEARCH_PATH_VARIABLE: os.pathsep.join(str(each) for each in search_path),
    }
