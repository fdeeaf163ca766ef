"""Detect changes in model stores."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from hubserve.registry.model_store import StoredModel

_DEEPEST = 10
_MOST_ENTRIES = 100_000


class StoreWatch:
    """Comparison of model stores with their last state.

    Args:
        find: returns the models of the stores.
    """

    def __init__(self, find: Callable[[], Mapping[str, StoredModel]]) -> None:
        self._find = find
        self._models: dict[str, StoredModel] = {}
        self._known = self._scan()

    def changes(self) -> tuple[list[str], list[str]]:
        """Return the models that are new or changed since the last call, and those that are gone.

        Raises:
            ConfigError: a store cannot be read; nothing counts as gone then.
        """
        known, now = self._known, self._scan()
        self._known = now
        return [name for name in now if now[name] != known.get(name)], [name for name in known if name not in now]

    def _scan(self) -> dict[str, str]:
        found = self._find()
        # a model whose files are being replaced may look like an ordinary folder for a while
        emptied = {name: model for name, model in self._models.items() if name not in found and model.folder.is_dir()}
        self._models = {**found, **emptied}
        return {name: _fingerprint(model) for name, model in self._models.items()}


def _fingerprint(model: StoredModel) -> str:
    """Return a digest that changes with each file of the model: its path, size, time or inode."""
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
        except OSError:  # deleted meanwhile, or a broken link
            yield f"{depth} {entry.name} -\n"
            continue
        if entry.is_dir():
            yield f"{depth} {entry.name}/\n"
            if depth < _DEEPEST:
                yield from _entries(entry.path, depth + 1)
        else:
            yield f"{depth} {entry.name} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}\n"
