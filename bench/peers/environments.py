"""Virtual environments for the peers: each is made once, in a folder of its own under the cache, and used again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from bench.peers.failures import CannotRun

DEFAULT_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hubserve-bench"
_STAMP = "installed.json"
_ASK_TIMEOUT_S = 30
# Prints the version, and the folder of the interpreter's shared library or null.
_ABOUT = """
import json, os, sys, sysconfig
folder, name = (sysconfig.get_config_var(each) or "" for each in ("LIBDIR", "LDLIBRARY"))
shared = ".so" in name and os.path.isfile(os.path.join(folder, name))
print(json.dumps(["%d.%d" % sys.version_info[:2], folder if shared else None]))
"""


class Environment(NamedTuple):
    """Python and packages that a peer needs.

    Attributes:
        name: of its folder under the cache.
        versions: of Python that do, the preferred one first, such as ``("3.11", "3.12")``.
        requirements: what pip installs, in one call.
        shared_library: whether the interpreter must come with a ``libpython3.x.so``, for programs that embed it.
    """

    name: str
    versions: tuple[str, ...]
    requirements: tuple[str, ...]
    shared_library: bool = False


class Interpreter(NamedTuple):
    """A Python that runs.

    Attributes:
        path: its executable.
        version: such as ``3.11``.
        library_folder: where its ``libpython3.x.so`` lies; None where it has none.
    """

    path: Path
    version: str
    library_folder: Path | None


def make(environment: Environment, cache: Path) -> Interpreter:
    """Return the environment's interpreter; install it first unless it exists with these requirements.

    Raises:
        CannotRun: there is no interpreter for it, or pip failed.
    """
    folder = cache.expanduser().absolute() / environment.name
    python = folder / "bin" / "python"
    wanted = {"requirements": list(environment.requirements), "versions": list(environment.versions)}
    if _read(folder / _STAMP) == wanted and (made := _ask(python)):
        return made
    base = _find(environment)
    print(f"installing {environment.name} into {folder} (once; this takes minutes)", file=sys.stderr, flush=True)
    cache.expanduser().mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix(".log")
    with log.open("w") as output:
        _call([base.path, "-m", "venv", "--clear", folder], output, log)
        _call([python, "-m", "pip", "install", *environment.requirements], output, log)
    (folder / _STAMP).write_text(json.dumps(wanted))
    made = _ask(python)
    if made is None:
        raise CannotRun(f"the environment {folder} was made, but its Python does not start; see {log}")
    return made


def _call(command: list[Any], output: Any, log: Path) -> None:
    done = subprocess.run([str(each) for each in command], stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        output.flush()
        errors = [line for line in log.read_text(errors="replace").splitlines() if "error" in line.lower()]
        raise CannotRun(f"its environment cannot be made: {errors[-1].strip() if errors else 'pip or venv failed'}; see {log}")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _find(environment: Environment) -> Interpreter:
    found = [each for path in _candidates(environment.versions) if (each := _ask(path))]
    for version in environment.versions:
        for each in found:
            if each.version == version and (each.library_folder or not environment.shared_library):
                return each
    wanted = " or ".join(environment.versions) + (" with a libpython3.x.so" if environment.shared_library else "")
    raise CannotRun(f"it needs Python {wanted}, which is neither on PATH nor under ~/.pyenv/versions. Install one.")


def _candidates(versions: tuple[str, ...]) -> list[Path]:
    """Return executables that may be one of these versions, pyenv's included: its names on PATH work for some versions only."""
    named = [found for version in versions if (found := shutil.which(f"python{version}"))]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    own = Path(sys.base_prefix) / "bin" / "python3"
    return [own, *map(Path, named), *sorted(pyenv.glob("versions/*/bin/python"))]


def _ask(python: Path) -> Interpreter | None:
    try:
        done = subprocess.run([str(python), "-c", _ABOUT], capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=True)
        version, library_folder = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(python, version, Path(library_folder) if library_folder else None)
