"""What a module's code raises, as errors of hubserve."""

import re
import sys
import traceback
from pathlib import Path
from typing import Any, Optional

from hubserve.errors import HubError, LoadFailed, MissingDependency, ModuleFailed, OutOfMemory, safe_text
from hubserve.kinds.import_hooks import LOADED
from hubserve.kinds.package_names import package_of
from hubserve.kinds.project_imports import AROUND

#: how engines say it, who have exceptions of their own
_NO_MEMORY = re.compile(r"out of memory|ResourceExhausted|bad_alloc|[Ff]ailed to allocate memory")

_TRACEBACK_CHARACTERS = 12 << 10


class failures_named:  # noqa: N801 - reads as a phrase where it is used
    """Turn whatever a module's code raises into a LoadFailed that says what was being done, with the traceback for the log."""

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
        where = _last_place(error)
        raise LoadFailed(
            f"{self._doing}: {type(error).__name__}: {safe_text(error)}{where}. Mend the module and try again.", detail
        ) from error


def _missing(name: str) -> str:
    """Return what a missing import is, and what to do. A package is named only where it is certain which one has the import."""
    top = name.partition(".")[0]
    if top in LOADED and top != name:
        return (
            f"it imports its own '{name.partition('.')[2]}', which is not in its folder '{LOADED[top]}'. Get the whole module from where "
            "it is published, or write what is missing, and install it again."
        )
    found = sys.modules.get(top)
    if found is not None and top != name:
        place = getattr(found, "__file__", None) or next(iter(getattr(found, "__path__", ())), "this Python")
        return (
            f"it imports '{name}', and the '{top}' that is found here ({place}) has no such part. Another '{top}' is meant, or another "
            "version of it: name that in the module's requirements.txt, or move the one that is found away, and install the module again."
        )
    package = package_of(top)
    if package:
        what = f"the package '{package}'" + ("" if package == top else f" (it imports '{top}')")
        return f"it needs {what}, which is not installed. Add {package} to its requirements.txt and install the module again{_or_here()}."
    gone = next((each.origin for each in AROUND.values() if each.gone), None)
    if gone is not None:
        return (
            f"it imports '{top}', which is not installed, and what lay beside the folder that the module was installed from is gone with "
            f"it: '{gone}'. Put it back, or install the module again from where it is now."
        )
    return (
        f"it imports '{top}', which is not installed{_looked_beside()}. If '{top}' is a part of the project that the module comes from, "
        "install the module from its folder in that project. If it is in a package, add that package to the module's requirements.txt and "
        f"install the module again{_or_here()}; the package may have another name than '{top}'."
    )


def _looked_beside() -> str:
    """Return what was looked at beside the place that the module came from."""
    for each in AROUND.values():
        refused = f"; not looked at: '{each.refused}', where every user of this machine can put files" if each.refused else ""
        return f" and does not lie beside the module's folder '{each.origin}'{refused}"
    return ""


def _or_here() -> str:
    """Return the advice to install it by hand; an environment that was made for modules has a record of what it holds."""
    made_for_modules = Path(sys.prefix, "environment.json").is_file()
    return "" if made_for_modules else f", or install it into this Python: {sys.executable}"


def _last_place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" (at {frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def as_failure(error: BaseException) -> ModuleFailed:
    """Return what a module raised as an error with exactly the exception's text, as far as it has one. Never raises."""
    detail, text = traceback_of(error), safe_text(error)
    if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
        return OutOfMemory(f"the module ran out of memory: {text}".rstrip(": "), detail)
    if isinstance(error, SystemExit):
        return ModuleFailed(f"the module called sys.exit({safe_text(error.code, repr)}) while it answered", detail)
    return ModuleFailed(text or type(error).__name__, detail)


def traceback_of(error: BaseException) -> str:
    """Return an exception's traceback as Python prints it; only the beginning and the end of a long one."""
    return safe_text(error, _traceback_of)


def _traceback_of(error: BaseException) -> str:
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    half = _TRACEBACK_CHARACTERS // 2
    return text if len(text) <= 2 * half else f"{text[:half]}\n[...]\n{text[-half:]}"
