"""Which published PaddleHub modules does ``hub install`` accept, how fast, and what is the reason where it does not?

python bench/published.py CHECKOUT [--sample N] [--jobs N] [--only NAME] [--again]

CHECKOUT is a checkout of PaddleHub. Every folder with a module.py in it is installed as it is, into a home that is empty at the start.
A run that was stopped goes on where it was; --again installs everything once more, with the environments that are there.
"""

import argparse
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from hubserve.kinds.code_names import read_code_names
from hubserve.kinds.module_scan import scan_module

#: seconds that an install is to take where its environment is there
AIM_S = 4
#: groups of refusals, by their common text
REASONS = {
    r"needs the package '([^']*)'": "a package is missing: {0}",
    r"it imports (?:its own )?'([^']*)', which": "what it imports is missing: {0}",
    r"No module named '([^']*)'": "a package is missing: {0}",
    r"cannot import name '([^']*)' from '([^']*)'": "{1} has no {0}",
    r"module '([^']*)' has no attribute '([^']*)'": "{0} has no {1}",
    r"(took more than [^,]*)": "import {0}",
    r"(cannot be read as Python|is not Python|SyntaxError)[^.]*": "not Python 3",
    r"(no such class|has no class)": "no class under @moduleinfo",
    r"(?:cannot be resolved|No solution found|ResolutionImpossible)[^:]*:(?: error:)?(?: Failed to build `([^`]*)`)?": "its requirements "
    "cannot be met: {0}",
    r"cannot be filled[^:]*:(?: error:)?(?: Failed to build `([^`]*)`)?": "its requirements cannot be built: {0}",
    r"(\w+Error): ([^\n(]{0,60})": "{0}: {1}",
}


def main() -> int:
    """Install, one line for each module, and sum up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--sample", type=int, metavar="N", help="about N modules, evenly spread")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="modules with this in their path; several times")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="installs at once, each into a home of its own (default %(default)s)"
    )
    parser.add_argument("--again", action="store_true", help="install what was installed before once more, and measure that")
    parser.add_argument("--retry", action="store_true", help="try what was refused before once more")
    parser.add_argument(
        "--work", type=Path, help="the folder of the homes and of results.jsonl; else one in the folder for temporary files"
    )
    parser.add_argument("--timeout", type=float, default=1800, metavar="S", help="seconds for one install (default %(default)s)")
    args = parser.parse_args()
    root = args.checkout.resolve()
    work = args.work or Path(tempfile.gettempdir()) / f"hub-published-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"
    folders = _wanted(find_modules(root), args)
    if not folders:
        parser.error(f"'{root}' has no wanted folder with a module.py")
    print(f"{len(folders)} modules; homes and results are in {work}", flush=True)
    results = install_all(root, folders, work, args)
    return summarize([results[each] for each in folders if each in results], again=args.again)


def find_modules(root: Path) -> list[str]:
    """Return the folders that have a module.py, relative to the checkout."""
    return sorted(each.parent.relative_to(root).as_posix() for each in root.rglob("module.py") if is_module(each))


def is_module(path: Path) -> bool:
    """Return whether it is a module's own file, and not part of the framework or of another module."""
    return "moduleinfo" in path.read_text("utf-8", "replace") and not (
        path.parent.name == "module" and (path.parent / "manager.py").is_file()
    )


def _wanted(folders: list[str], args: argparse.Namespace) -> list[str]:
    if args.only:
        folders = [each for each in folders if any(name in each for name in args.only)]
    if args.sample and args.sample < len(folders):
        folders = [folders[index * len(folders) // args.sample] for index in range(args.sample)]
    return folders


def install_all(root: Path, folders: list[str], work: Path, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Install the modules that are not done yet; returns what became of each one, from earlier runs also."""
    work.mkdir(parents=True, exist_ok=True)
    run = "again" if args.again else "first"
    file = work / "results.jsonl"
    results = {each["module"]: each for each in _read(file) if each["run"] == run}
    names = module_names(root)
    todo = [each for each in folders if each not in results or (args.retry and not results[each]["ok"])]
    todo.sort(key=lambda each: has_requirements(root / each))  # those that build environments of their own come last
    if args.again:  # refused modules are measured already
        accepted = {each["module"] for each in _read(file) if each["run"] == "first" and each["ok"]}
        todo = [each for each in todo if each in accepted]
    homes: SimpleQueue[Path] = SimpleQueue()
    for index in range(args.jobs):
        homes.put(make_home(work, index))
    with ThreadPoolExecutor(args.jobs) as pool, file.open("a") as log:

        def one(folder: str) -> None:
            home = homes.get()
            try:
                result = {**install(root, folder, home, names, args.timeout), "run": run}
            finally:
                homes.put(home)
            results[folder] = result
            log.write(json.dumps(result) + "\n")
            log.flush()
            shown = "ok     " if result["ok"] else "REFUSED"
            print(
                f"{shown} {result['seconds']:6.1f} s  {result['environment'] or 'host':20} {folder}  {result['reason'][:200]}", flush=True
            )

        for _ in pool.map(one, todo):
            pass
    return results


def _read(file: Path) -> list[dict[str, Any]]:
    with suppress(FileNotFoundError):
        return [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
    return []


def make_home(work: Path, index: int) -> Path:
    """Make the home of one job; all of them share their environments."""
    (work / "environments").mkdir(exist_ok=True)
    home = work / f"home-{index}"
    home.mkdir(exist_ok=True)
    if not (home / "environments").exists():
        (home / "environments").symlink_to(work / "environments", target_is_directory=True)
    return home


def module_names(root: Path) -> dict[str, str]:
    """Return each module's folder by the name under which others import it."""
    found = {}
    for folder in find_modules(root):
        with suppress(OSError, ValueError):
            for name in read_code_names(root / folder / "module.py").module_names:
                found[re.sub(r"[-.]", "_", name)] = folder
    return found


def has_requirements(folder: Path) -> bool:
    """Return whether a module says which packages it needs."""
    return (folder / "requirements.txt").is_file()


def install(root: Path, folder: str, home: Path, names: dict[str, str], timeout_s: float) -> dict[str, Any]:
    """Install one module, after the modules that it imports; returns what became of it."""
    needed = [names[each] for each in scan_module(root / folder).imports if each in names and names[each] != folder]
    for each in needed:
        if not any((home / "modules").glob(f"{Path(each).name}/*/module.py")):
            hub(root / each, home, timeout_s)
    begun = time.monotonic()
    code, document, errors = hub(root / folder, home, timeout_s)
    return {
        "module": folder,
        "requirements": has_requirements(root / folder),
        "ok": code == 0,
        "seconds": round(time.monotonic() - begun, 2),
        "environment": document.get("environment", ""),
        "reason": "" if code == 0 else errors,
    }


def hub(folder: Path, home: Path, timeout_s: float) -> tuple[int, dict[str, Any], str]:
    """Run ``hub install``; returns its status, its document, and what it says of an error."""
    command = [sys.executable, "-m", "hubserve", "install", str(folder), "--json"]
    # where it is set no package is ever compiled, and each import takes twice as long
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environ["HUB_HOME"] = str(home)
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=home)
    except subprocess.TimeoutExpired:
        return 1, {}, f"hub install took more than {timeout_s:g} s"
    document: dict[str, Any] = {}
    with suppress(ValueError):
        document = json.loads(done.stdout)
    said = [line for line in done.stderr.splitlines() if line.startswith("hub: ")]
    return done.returncode, document, (said[-1] if said else done.stderr[-2000:])


def group_of(reason: str) -> str:
    """Return what a refusal has in common with others."""
    for pattern, text in REASONS.items():
        found = re.search(pattern, reason)
        if found:
            return text.format(*(each or "" for each in found.groups()))
    return reason[:80]


def summarize(results: list[dict[str, Any]], *, again: bool) -> int:
    """Print the counts; the status is 0 if everything was accepted."""
    for with_requirements in (False, True):
        group = [each for each in results if each["requirements"] == with_requirements]
        if not group:
            continue
        accepted = [each for each in group if each["ok"]]
        what = "with a requirements.txt" if with_requirements else "without requirements.txt"
        print(f"\n{what}: {len(accepted)} of {len(group)} accepted")
        environments = Counter(each["environment"] or "host" for each in accepted)
        print("  environments: " + ", ".join(f"{name} {count}" for name, count in environments.most_common(8)))
        seconds = [each["seconds"] for each in accepted]
        if seconds:
            kind = "once more" if again else "the first time"
            slow = sum(each >= AIM_S for each in seconds)
            print(f"  seconds {kind}: median {statistics.median(seconds):.1f}, longest {max(seconds):.1f}; {slow} took {AIM_S:g} or more")
        refused: dict[str, list[str]] = defaultdict(list)
        for each in group:
            if not each["ok"]:
                refused[group_of(each["reason"])].append(each["module"])
        for reason, modules in sorted(refused.items(), key=lambda each: -len(each[1])):
            shown = ", ".join(Path(each).name for each in modules[:4])
            print(f"  refused {len(modules):4}  {reason}  ({shown}{', ...' if len(modules) > 4 else ''})")
    return int(not all(each["ok"] for each in results))


if __name__ == "__main__":
    sys.exit(main())
