"""Notices what changes in model stores."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from hubserve.registry.model_store import StoredModel

_DEEPEST = 10
_MOST_ENTRIES = 100_000


class StoreWatch:
    """Compares the models of some stores with how they were.

    Args:
        find: gives the models of the stores.
    """

    def __init__(self, find: Callable[[], Mapping[str, StoredModel]]) -> None:
        self._find = find
        self._models: dict[str, StoredModel] = {}
        self._known = self._look()

    def changes(self) -> tuple[list[str], list[str]]:
        """The models that are new or other ones since this was asked last, and those that are gone.

        Raises:
            ConfigError: a store cannot be read. Then nothing counts as gone.
        """
        known, now = self._known, self._look()
        self._known = now
        return [name for name in now if now[name] != known.get(name)], [name for name in known if name not in now]

    def _look(self) -> dict[str, str]:
        found = self._find()
        # a model whose files are being replaced may look like an ordinary folder for a while
        emptied = {name: model for name, model in self._models.items() if name not in found and model.folder.is_dir()}
        self._models = {**found, **emptied}
        return {name: _fingerprint(model) for name, model in self._models.items()}


def _fingerprint(model: StoredModel) -> str:
    """Changes whenever a file of the model does: its path, size, time or place on the disk."""
    digest = hashlib.blake2b(f"{model.folder}\n{model.problem}\n".encode("utf-8", "surrogateescape"))
    for count, line in enumerate(_entries(model.folder, 0)):
        if count >= _MOST_ENTRIES:
            break
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _entries(folder: Path | str, depth: int) -> Iterator[str]:
    try:
        # running a model.py makes __pycache__
        entries = sorted((each for each in os.scandir(folder) if each.name != "__pycache__"), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        try:
            stat = entry.stat()
        except OSError:  # gone since, or a link to nothing
            yield f"{depth} {entry.name} -\n"
            continue
        if entry.is_dir():
            yield f"{depth} {entry.name}/\n"
            if depth < _DEEPEST:
                yield from _entries(entry.path, depth + 1)
        else:
            yield f"{depth} {entry.name} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}\n"
