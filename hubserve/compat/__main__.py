"""``python -m hubserve.compat SCRIPT [ARGUMENT ...]``: run a script with ``import paddlehub`` unchanged.

The script finds the same names as an instance: those that newer packages removed, and imports beside the script's folder.

``--install`` makes the names importable in every process of this Python, by a ``.pth`` file among its packages; ``--uninstall`` removes it.
"""

import argparse
import runpy
import sys
import sysconfig
from pathlib import Path
from typing import List, Optional

from hubserve.compat import FOLDER
from hubserve.kinds.project_imports import search_beside
from hubserve.kinds.removed_names import runtime

_PATH_FILE = "hubserve_compat.pth"


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m hubserve.compat", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--install", action="store_true", help="make the names importable in every process of this Python")
    action.add_argument("--uninstall", action="store_true", help="undo --install")
    action.add_argument("script", nargs="?", help="the script to run, followed by its arguments")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    args = parser.parse_args(argv)
    if args.script:
        return _run(args.script, args.arguments)
    return _change(install=args.install)


def _run(script: str, arguments: List[str]) -> int:
    sys.argv = [script, *arguments]
    folder = Path(script).resolve().parent
    sys.path[0] = str(folder)  # as with python SCRIPT
    search_beside("__main__", folder)
    runtime.install()
    runpy.run_path(script, run_name="__main__")
    return 0


def _change(install: bool) -> int:
    path = Path(sysconfig.get_paths()["purelib"]) / _PATH_FILE
    try:
        if install:
            path.write_text(f"{FOLDER}\n", "utf-8")  # python appends this line to its path
        elif path.exists():
            path.unlink()
    except OSError as error:
        sys.stderr.write(f"hub: cannot change '{path}': {error.strerror}. Use a virtual environment of your own.\n")
        return 1
    sys.stdout.write(f"'import paddlehub' {'works' if install else 'no longer works'} in {sys.executable} ({path})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
