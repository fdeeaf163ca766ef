"""Turn exceptions of a module's code into errors of hubserve."""

import re
import sys
import traceback
from pathlib import Path
from typing import Any, Optional

from hubserve.errors import HubError, LoadFailed, MissingDependency, ModuleFailed, OutOfMemory, safe_text
from hubserve.kinds.import_hooks import LOADED
from hubserve.kinds.package_names import package_of
from hubserve.kinds.project_imports import SURROUNDINGS

#: texts of the engines' own exceptions
_NO_MEMORY = re.compile(r"out of memory|ResourceExhausted|bad_alloc|[Ff]ailed to allocate memory")

_TRACEBACK_CHARACTERS = 12 << 10


class failures_named:  # noqa: N801 - reads as a phrase where it is used
    """Context manager that turns any exception of a module's code into a LoadFailed with the failed action and the traceback."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: Any, error: Optional[BaseException], _traceback: Any) -> None:
        if error is None or isinstance(error, (KeyboardInterrupt, HubError)):
            return
        detail = traceback_of(error)
        if isinstance(error, ModuleNotFoundError) and error.name:
            raise MissingDependency(f"{self._doing}: {_missing(error.name)}", detail) from error
        where = _raised_at(error)
        raise LoadFailed(f"{self._doing}: {type(error).__name__}: {safe_text(error)}{where}. Fix the module and retry.", detail) from error


def _missing(name: str) -> str:
    """Return the cause of a missing import, and the remedy. A package is named only if it is certain that it provides the import."""
    top = name.partition(".")[0]
    if top in LOADED and top != name:
        return (
            f"it imports its own '{name.partition('.')[2]}', which is not in its folder '{LOADED[top]}'. Get the complete module from its "
            "publisher, or add the missing file, and install it again."
        )
    found = sys.modules.get(top)
    if found is not None and top != name:
        path = getattr(found, "__file__", None) or next(iter(getattr(found, "__path__", ())), "this Python")
        return (
            f"it imports '{name}', and the '{top}' that is found here ({path}) has no such part. The module needs another '{top}', or "
            "another version of it: add that to the module's requirements.txt, or remove the one found here, and install the module again."
        )
    package = package_of(top)
    if package:
        what = f"the package '{package}'" + ("" if package == top else f" (it imports '{top}')")
        return f"it needs {what}, which is not installed. Add {package} to its requirements.txt and install the module again{_or_here()}."
    gone = next((each.origin for each in SURROUNDINGS.values() if each.gone), None)
    if gone is not None:
        return (
            f"it imports '{top}', which is not installed, and the folder that the module was installed from no longer exists: '{gone}'. "
            "Restore it, or install the module again from its new place."
        )
    return (
        f"it imports '{top}', which is not installed{_looked_beside()}. If '{top}' is a part of the project that the module comes from, "
        "install the module from its folder in that project. If it is in a package, add that package to the module's requirements.txt and "
        f"install the module again{_or_here()}; the package may have another name than '{top}'."
    )


def _looked_beside() -> str:
    """Return where the import was looked up beside the folder that the module was installed from."""
    for each in SURROUNDINGS.values():
        refused = f"; not looked at: '{each.refused}', where every user of this machine can put files" if each.refused else ""
        return f" and does not lie beside the module's folder '{each.origin}'{refused}"
    return ""


def _or_here() -> str:
    """Return the advice to install the package by hand; "" in an environment made for modules, whose record lists its packages."""
    made_for_modules = Path(sys.prefix, "environment.json").is_file()
    return "" if made_for_modules else f", or install it into this Python: {sys.executable}"


def _raised_at(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" (at {frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def as_failure(error: BaseException) -> ModuleFailed:
    """Return a module's exception as an error with the exception's own text, if it has one. Never raises."""
    detail, text = traceback_of(error), safe_text(error)
    if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
        return OutOfMemory(f"the module ran out of memory: {text}".rstrip(": "), detail)
    if isinstance(error, SystemExit):
        return ModuleFailed(f"the module called sys.exit({safe_text(error.code, repr)}) while it answered", detail)
    return ModuleFailed(text or type(error).__name__, detail)


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an exception; of a long one only the beginning and the end."""
    return safe_text(error, _traceback_of)


def _traceback_of(error: BaseException) -> str:
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    half = _TRACEBACK_CHARACTERS // 2
    return text if len(text) <= 2 * half else f"{text[:half]}\n[...]\n{text[-half:]}"
