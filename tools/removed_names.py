"""List the names that Python files use and the installed packages lack: what ``hubserve/kinds/removed_names`` is made from.

``python tools/removed_names.py CHECKOUT [--python PYTHON] [--package NAME ...]``, for example with a checkout of PaddleHub. The packages
are those of PYTHON, this one by default; names of packages that it does not have are left out, and so is what a file tries first.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from hubserve.kinds import removed_names
from hubserve.kinds.code_names import read_code_names
from hubserve.kinds.module_scan import python_files

#: runs in the other Python: it may be an old one, and has nothing but its packages
_LOOK = r"""
import importlib, json, sys, warnings
warnings.simplefilter("ignore")

def is_there(name):
    parts = name.split(".")
    found = None
    for count in range(1, len(parts) + 1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            break
    else:
        return True
    for part in parts[count - 1 :]:
        if part.startswith("__"):
            return True
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
        if not (isinstance(found, type(sys)) or isinstance(found, type)):
            return True  # attributes of objects are not known before they are made
    return True

def has(package):
    try:
        importlib.import_module(package)
    except Exception as error:
        if getattr(error, "name", None) != package:
            sys.stderr.write("left out: {}: {!r}\n".format(package, error))
        return False
    return True

sys.path[:] = [each for each in sys.path if each]  # without the working directory
names = json.loads(sys.stdin.read())
packages = {each: has(each) for each in sorted({name.split(".")[0] for name in names})}
sys.stdout.write("\n" + json.dumps([each for each in names if packages[each.split(".")[0]] and not is_there(each)]))
"""


def used_names(checkout: Path) -> dict[str, list[str]]:
    """Return each dotted name that the files use or import, and where."""
    used: dict[str, list[str]] = defaultdict(list)
    for path in python_files(checkout):
        try:
            names = read_code_names(path)
        except (OSError, ValueError) as error:
            print(f"left out: {path}: {error}", file=sys.stderr)
            continue
        for found in (*names.uses, *names.imports):
            if not found.optional:
                used[found.name].append(f"{path.relative_to(checkout)}:{found.line}")
    return used


def missing_names(names: list[str], python: str) -> list[str]:
    """Return those of the names that the packages of a Python lack."""
    done = subprocess.run([python, "-c", _LOOK], input=json.dumps(names), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{python} cannot look for the names: {done.stderr[-2000:]}")
    sys.stderr.write("".join(line for line in done.stderr.splitlines(keepends=True) if line.startswith("left out")))
    return list(json.loads(done.stdout.splitlines()[-1]))


def _shortest(name: str, missing: set[str]) -> str:
    """Return the first part of a name that is missing."""
    parts = name.split(".")
    return next(short for count in range(1, len(parts) + 1) if (short := ".".join(parts[:count])) in missing)


def main() -> None:
    """Print the names, the most used ones first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--python", default=sys.executable, help="the Python whose packages count")
    parser.add_argument("--package", action="append", default=[], help="only names of this package; several times")
    args = parser.parse_args()
    used = used_names(args.checkout)
    wanted = [name for name in used if not args.package or name.split(".", maxsplit=1)[0] in args.package]
    missing = set(missing_names(wanted, args.python))
    # a removed function that is there and refuses its old calls is known by its table alone
    refused = {name for name in wanted if name in removed_names.NEEDS}
    places: dict[str, list[str]] = defaultdict(list)
    for name in missing | refused:
        places[_shortest(name, missing | refused)].extend(used[name])
    for name, where in sorted(places.items(), key=lambda each: (-len(each[1]), each[0])):
        known = removed_names.find(name)
        state = "replaced" if known and removed_names.has_replacement(known) else "known" if known else "NEW"
        print(f"{len(where):5} {state:9} {name}  {where[0]}")


if __name__ == "__main__":
    main()
