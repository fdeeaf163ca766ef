"""Finds and deletes what nobody needs any more; ``hub clear`` empties the whole cache, this leaves what is of use."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hubserve.engines.file_cache import kept_with, origins
from hubserve.errors import InstallError
from hubserve.registry.history import read_record
from hubserve.registry.legacy_layout import is_flat
from hubserve.registry.progress import Progress, silent
from hubserve.registry.recovery import staging
from hubserve.registry.store import Store
from hubserve.registry.version_changes import forget_replaced
from hubserve.registry.version_dirs import is_held, is_place

#: What is collected, as it is told.
STAGING, REPLACED, UNUSED, DOWNLOADS, ENGINES = (
    "what unfinished installs left",
    "replaced copies",
    "files of uninstalled versions",
    "downloads",
    "engine files of models that are gone",
)


class Garbage(NamedTuple):
    """One thing that nobody needs.

    Attributes:
        kind: one of the names above.
        path: a file or a folder.
        size_bytes: of all of it.
        in_use: whether a process runs it, so that it stays.
    """

    kind: str
    path: Path
    size_bytes: int
    in_use: bool = False


def collect(store: Store, progress: Progress = silent, *, dry_run: bool = False) -> list[Garbage]:
    """Delete what nobody needs; an install in another process is waited for.

    Args:
        store: the home's.
        progress: told how far it is.
        dry_run: delete nothing.
    Returns:
        What was deleted, or would be, and what is in use.
    Raises:
        InstallError: another install did not finish in time, or something could not be deleted.
    """
    try:
        with store.lock(progress):
            progress("looking for what nobody needs")
            found = list(_find(store))
            if not dry_run:
                _delete(store, [each for each in found if not each.in_use], progress)
    except OSError as error:
        raise InstallError(
            f"cannot delete what nobody needs: {error}. What is installed is as it was; mend the cause and try again."
        ) from error
    return found


def _find(store: Store) -> Iterator[Garbage]:
    for each in staging(store.tmp):
        yield Garbage(STAGING, each, _size_bytes(each))
    for name_folder in _name_folders(store):
        record = read_record(name_folder)
        if record is None:
            continue
        for place in filter(is_place, name_folder.iterdir()):
            if place.name not in record.versions.values():
                kind = REPLACED if place.name in record.kept() else UNUSED
                yield Garbage(kind, place, _size_bytes(place), is_held(place))
    for each in (store.home / "cache" / "downloads").glob("*"):
        if each.suffix != ".lock":  # it may be waited for
            yield Garbage(DOWNLOADS, each, _size_bytes(each), each.is_dir() and is_held(each))
    yield from _engine_files(store.home / "cache")


def _engine_files(cache: Path) -> Iterator[Garbage]:
    """Converted models, measured choices and notes that were made for files none of which is there any more."""
    for made in [*cache.glob("onnx/*.onnx"), *cache.glob("engines/*.json")]:
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
        return note  # nobody knows what it was noted for


def _delete(store: Store, garbage: list[Garbage], progress: Progress) -> None:
    for name_folder in {each.path.parent for each in garbage if each.kind == REPLACED}:
        forget_replaced(name_folder, {each.path.name for each in garbage if each.path.parent == name_folder})
    total_bytes = sum(each.size_bytes for each in garbage)
    done_bytes = 0
    for each in garbage:
        progress("deleting", done_bytes, total_bytes)
        if each.path.is_dir():
            shutil.rmtree(each.path, ignore_errors=True)
        else:
            each.path.unlink(missing_ok=True)
        done_bytes += each.size_bytes
    store.recover()


def _name_folders(store: Store) -> list[Path]:
    with suppress(OSError):
        return [each for each in store.modules.iterdir() if each.is_dir() and not each.name.startswith(".") and not is_flat(each)]
    return []


def _files(folder: Path) -> list[Path]:
    return [Path(base, each) for base, _folders, files in os.walk(folder) for each in files]


def _size_bytes(path: Path) -> int:
    total_bytes = 0
    for each in _files(path) if path.is_dir() else [path]:
        with suppress(OSError):  # deleted meanwhile
            total_bytes += each.lstat().st_size
    return total_bytes
