"""Make the names of other frameworks importable: after ``import hubserve.compat``, ``import paddlehub`` works in any script.

The folder comes last on the import path, so that the real package is used if it is installed.
"""

import sys
from pathlib import Path

#: holds one folder for each name
FOLDER = Path(__file__).resolve().parent


def make_importable() -> None:
    """Append the folder of the names to this process's import path."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))


make_importable()
