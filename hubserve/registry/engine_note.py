"""Note of the engine that a module uses: the server writes it once the module is loaded, and ``hub show`` reads it."""

import hashlib
import json
import os
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hubserve.errors import InstallError
from hubserve.kinds.base import ModuleInfo
from hubserve.paths import cache_dir
from hubserve.registry.manifest import read_manifest

_SCHEMA = 1


def note_engine(info: ModuleInfo, folder: Path, engine: dict[str, Any] | None) -> None:
    """Write a note of a served module's engine; if the home cannot be written, there is none.

    Args:
        info: the module.
        folder: its files.
        engine: as :attr:`hubserve.kinds.description.Description.engine`; None, for a module that reports none, removes the note.
    """
    path = _path(info, folder)
    with suppress(OSError):
        if engine is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        note = {"schema": _SCHEMA, "module": info.name, "version": info.version, "folder": str(folder), "noted_at": now, "engine": engine}
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(json.dumps(note, indent=1) + "\n", "utf-8")
        partial.replace(path)


def read_engine_note(info: ModuleInfo, folder: Path) -> dict[str, Any] | None:
    """Return the latest note for exactly these files, with ``noted_at``; None if there is none, or it is damaged."""
    try:
        noted = json.loads(_path(info, folder).read_text("utf-8"))
        return {**noted["engine"], "noted_at": str(noted["noted_at"])} if noted["schema"] == _SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(info: ModuleInfo, folder: Path) -> Path:
    try:
        digest = read_manifest(folder).digest
    except InstallError:
        digest = ""  # a folder that is not installed
    # a reinstalled version counts as another module, and so does one of the same name in another folder
    which = hashlib.sha256(f"{info.name}|{info.version}|{folder.resolve()}|{digest}".encode()).hexdigest()[:32]
    return cache_dir() / "choices" / f"{which}.json"
