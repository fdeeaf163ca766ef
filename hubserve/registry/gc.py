"""Garbage collection: delete what no module uses. ``hub clear`` empties the whole cache; this keeps what is still useful."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hubserve.engines.file_cache import kept_with, origins
from hubserve.errors import InstallError
from hubserve.registry.history import read_history
from hubserve.registry.legacy_layout import is_flat
from hubserve.registry.progress import Progress, silent
from hubserve.registry.recovery import locked, recover, staging_folders
from hubserve.registry.version_changes import delete_replaced
from hubserve.registry.version_dirs import is_locked, is_version_dir

#: kinds of garbage, as they are printed
STAGING, REPLACED, UNUSED, DOWNLOADS, ENGINES = (
    "leftovers of unfinished installs",
    "replaced copies",
    "files of uninstalled versions",
    "downloads",
    "engine files of deleted models",
)


class Garbage(NamedTuple):
    """One file or folder that no module uses.

    Attributes:
        kind: one of the names above.
        path: a file or a folder.
        size_bytes: of all of it.
        in_use: True if a process runs it, so that it stays.
    """

    kind: str
    path: Path
    size_bytes: int
    in_use: bool = False


def collect(home: Path, progress: Progress = silent, *, dry_run: bool = False) -> list[Garbage]:
    """Delete the garbage of a home, after any install in another process has finished.

    Args:
        home: the home.
        progress: called as it proceeds.
        dry_run: delete nothing.
    Returns:
        What was deleted, or would be, and what is in use.
    Raises:
        InstallError: another install did not finish in time, or something could not be deleted.
    """
    try:
        with locked(home, progress):
            progress("looking for unused files")
            found = list(_find(home))
            if not dry_run:
                _delete(home, [each for each in found if not each.in_use], progress)
    except OSError as error:
        raise InstallError(
            f"cannot delete unused files: {error}. What is installed is unchanged; fix the problem and try again."
        ) from error
    return found


def _find(home: Path) -> Iterator[Garbage]:
    for each in staging_folders(home / "tmp"):
        yield Garbage(STAGING, each, _size_bytes(each))
    for name_folder in _name_folders(home / "modules"):
        history = read_history(name_folder)
        if history is None:
            continue
        for directory in filter(is_version_dir, name_folder.iterdir()):
            if directory.name not in history.versions.values():
                kind = REPLACED if directory.name in history.replaced_dirs() else UNUSED
                yield Garbage(kind, directory, _size_bytes(directory), is_locked(directory))
    for each in (home / "cache" / "downloads").glob("*"):
        if each.suffix != ".lock":  # another process may wait for it
            yield Garbage(DOWNLOADS, each, _size_bytes(each), each.is_dir() and is_locked(each))
    yield from _engine_files(home / "cache")


def _engine_files(cache: Path) -> Iterator[Garbage]:
    """Yield converted models, engine choices and notes whose model files no longer exist."""
    for made in [*cache.glob("onnx/*.onnx"), *cache.glob("openvino/*.xml"), *cache.glob("engines/*.json")]:
        models = origins(made)
        if models and not any(each.exists() for each in models):
            for each in kept_with(made):
                yield Garbage(ENGINES, each, _size_bytes(each))
    for note in cache.glob("choices/*.json"):
        if not _noted_folder(note).exists():
            yield Garbage(ENGINES, note, _size_bytes(note))


def _noted_folder(note: Path) -> Path:
    try:
        return Path(json.loads(note.read_text("utf-8"))["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return note  # a note that cannot be read is kept


def _delete(home: Path, garbage: list[Garbage], progress: Progress) -> None:
    for name_folder in {each.path.parent for each in garbage if each.kind == REPLACED}:
        delete_replaced(name_folder, {each.path.name for each in garbage if each.path.parent == name_folder})
    total_bytes = sum(each.size_bytes for each in garbage)
    done_bytes = 0
    for each in garbage:
        progress("deleting", done_bytes, total_bytes)
        if each.path.is_dir():
            shutil.rmtree(each.path, ignore_errors=True)
        else:
            each.path.unlink(missing_ok=True)
        done_bytes += each.size_bytes
    recover(home)


def _name_folders(modules: Path) -> list[Path]:
    with suppress(OSError):
        return [each for each in modules.iterdir() if each.is_dir() and not each.name.startswith(".") and not is_flat(each)]
    return []


def _files(folder: Path) -> list[Path]:
    return [Path(base, each) for base, _folders, files in os.walk(folder) for each in files]


def _size_bytes(path: Path) -> int:
    total_bytes = 0
    for each in _files(path) if path.is_dir() else [path]:
        with suppress(OSError):  # deleted meanwhile
            total_bytes += each.lstat().st_size
    return total_bytes
