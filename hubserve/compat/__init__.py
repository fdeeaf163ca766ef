"""Makes the names of other frameworks importable: ``import hubserve.compat``, and ``import paddlehub`` works in a script of one's own.

The folder is put behind everything else on the import path, so that the real package is used where it is installed.
"""

import sys
from pathlib import Path

#: holds one folder for each name
FOLDER = Path(__file__).resolve().parent


def make_importable() -> None:
    """Put the names behind everything else on this process's import path."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))


make_importable()
