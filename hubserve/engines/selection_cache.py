"""Cache of engine selections, by model, versions and CPU."""

import json
import platform
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from hubserve import __version__
from hubserve.engines.base import ModelFiles
from hubserve.engines.file_cache import locked, note_origin, write_text
from hubserve.engines.model_files import digest
from hubserve.engines.package_versions import paddle_version, version_of
from hubserve.paths import cache_dir

_SCHEMA = 3


class Verdict(NamedTuple):
    """A selected engine and the reason.

    Attributes:
        engine: its name.
        reason: for people to read.
        lasting: whether the same would be found again; false where a check ran out of time or memory.
        measured: JSON: the figures of every engine that was tried; None where none was measured.
    """

    engine: str
    reason: str
    lasting: bool = True
    measured: Optional[Dict[str, Any]] = None


def remembered(
    files: ModelFiles,
    engines: Sequence[str],
    about: Sequence[str],
    find: Callable[[], Verdict],
    asked: Optional[Mapping[str, Any]] = None,
) -> Verdict:
    """Return the cached verdict, or the one that ``find`` returns now.

    Args:
        files: the model.
        engines: the names that the verdict is one of.
        about: what else the verdict depends on.
        find: makes the verdict; of several processes that ask at once, one calls it and the others wait.
        asked: kept with the verdict, so that it can be found again: ``graph``, ``weights`` and ``options``.
    """
    path = cache_dir() / "engines" / f"{_key(files, [*engines, *about])}.json"
    known = _read(path, engines)
    if known is not None:
        note_origin(path, files.graph)
        return known
    with ExitStack() as held:
        try:
            held.enter_context(locked(path))
        except OSError as error:
            return _not_remembered(find(), path, error)
        known = _read(path, engines)  # another process may have found it while this one waited
        verdict = known if known is not None else _find_and_keep(path, find, asked)
        note_origin(path, files.graph)
        return verdict


def _find_and_keep(path: Path, find: Callable[[], Verdict], asked: Optional[Mapping[str, Any]]) -> Verdict:
    verdict = find()
    if verdict.lasting:
        try:
            keep(path, verdict, asked)
        except OSError as error:
            return _not_remembered(verdict, path, error)
    return verdict


def keep(path: Path, verdict: Verdict, asked: Optional[Mapping[str, Any]]) -> None:
    """Write a verdict; the file in its place, if there is one, is replaced in one step.

    Raises:
        OSError: it cannot be written.
    """
    kept = {"schema": _SCHEMA, "engine": verdict.engine, "reason": verdict.reason, "measured": verdict.measured, "asked": asked}
    write_text(path, json.dumps(kept, indent=1) + "\n")


class Kept(NamedTuple):
    """A verdict stored in the cache. Attributes: ``path``; ``verdict``; ``asked``, as :func:`remembered` takes it, or None."""

    path: Path
    verdict: Verdict
    asked: Optional[Dict[str, Any]]


def all_kept() -> List[Kept]:
    """Return every verdict in the cache that can be read."""
    found = [read_kept(path) for path in sorted((cache_dir() / "engines").glob("*.json"))]
    return [each for each in found if each is not None]


def read_kept(path: Path) -> Optional[Kept]:
    """Return one verdict of the cache; None if it is missing, damaged, or of another version."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["schema"] != _SCHEMA:
            return None
        asked = kept.get("asked")
        return Kept(path, Verdict(str(kept["engine"]), str(kept["reason"]), True, kept["measured"]), asked if asked else None)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _not_remembered(verdict: Verdict, path: Path, error: OSError) -> Verdict:
    return verdict._replace(reason=f"{verdict.reason} (not remembered: cannot write to '{path.parent}': {error.strerror or error})")


def _key(files: ModelFiles, about: Sequence[str]) -> str:
    versions = [paddle_version(), *(version_of(name) for name in ("onnxruntime", "openvino", "paddle2onnx"))]
    return digest(files, __version__, str(_SCHEMA), *versions, cpu_model(), *about)


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the CPU's name and instruction sets: engines choose their arithmetic by them."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    wanted = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    return "|".join(sorted({line for line in lines if line.startswith(wanted)})) or platform.machine()


def _read(path: Path, engines: Sequence[str]) -> Optional[Verdict]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        engine, reason, measured = kept["engine"], kept["reason"], kept["measured"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing or damaged: found again
    whole = engine in engines and isinstance(reason, str) and (measured is None or isinstance(measured, dict))
    return Verdict(engine, reason, True, measured) if whole else None
