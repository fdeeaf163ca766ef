"""How the registry starts an instance process."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hubserve
from hubserve.module import SEARCH_PATH_VARIABLE


def instance_command(*arguments: str) -> list[str]:
    """The command line of ``hubserve.instance`` in this Python."""
    # Without -P the working directory would be searched first, and a stray json.py there would be imported instead of the real one.
    isolation = ["-P"] if sys.version_info >= (3, 11) else []
    return [sys.executable, *isolation, "-m", "hubserve.instance", *arguments]


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
