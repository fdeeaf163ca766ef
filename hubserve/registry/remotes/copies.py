"""Copies of remote folders in a home: of single modules, and of model stores."""

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.kinds.triton.config import CONFIG_NAME
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.downloads.http import Interrupted
from hubserve.registry.file_replacement import replacing
from hubserve.registry.names import is_name
from hubserve.registry.progress import Progress, silent
from hubserve.registry.provenance import Origin
from hubserve.registry.remotes import open_remote
from hubserve.registry.remotes.base import Listing, RemoteFile
from hubserve.registry.remotes.held_copies import hold
from hubserve.registry.remotes.mirror import Mirror, Synced
from hubserve.registry.remotes.selection import Chosen, choose

#: folder in the cache of what is served
REMOTE_CACHE = "remote"
#: marks the copy of a store in which the last look found no files
_SEEN_EMPTY = "seen-empty"
#: of more files, the digests are in the list of the installed files only
_MOST_DIGESTS = 1000
_GENERAL_NAMES = ("model", "model_quantized", "inference", "saved_model", "__model__", "pytorch_model")


class Copy(NamedTuple):
    """A module that was copied to this machine.

    Attributes:
        path: its folder, its archive or its model's file.
        origin: where it came from, with the digests of its files.
        name: a name for a model without one: that of the repository, if the file's own says nothing; else "".
    """

    path: Path
    origin: Origin
    name: str


def copy_of_module(text: str, parent: Path, settings: InstallSettings, progress: Progress) -> Copy:
    """Copy the module at an address, or what has changed of it.

    Args:
        text: the address.
        parent: each address has a folder of its own in it.
        settings: limits.
        progress: called as it proceeds.
    Raises:
        HubError: it cannot be fetched, or is refused; what was fetched is kept.
    """
    remote = open_remote(text, settings)
    mirror = Mirror(folder_of(text, parent), safe_name(remote.name), settings, progress)
    chosen: list[Chosen] = []

    def chosen_files(listing: Listing) -> Sequence[RemoteFile]:
        chosen.append(choose(listing, remote.shown, remote.inside))
        return chosen[0].files

    synced = mirror.sync(remote, chosen_files)
    provenance = {**remote.provenance(synced.listing), **_digests(mirror.digests())}
    path, inner = mirror.files / chosen[0].path, chosen[0].path
    shown = provenance["url"] + (f"//{inner}" if inner and not synced.listing.is_file else "")
    name = safe_name(remote.name) if Path(inner).stem in _GENERAL_NAMES and is_name(safe_name(remote.name)) else ""
    return Copy(path, Origin(shown, provenance | ({"file": inner} if inner else {}), is_local=False), name)


def copy_to_serve(text: str, parent: Path, settings: InstallSettings, progress: Progress) -> tuple[Copy, str]:
    """Copy the module at an address as :func:`copy_of_module`; if the remote does not answer, use an earlier copy.

    Returns:
        The copy, and why it may be an old one; "" if it is not.
    Raises:
        HubError: it cannot be fetched, and there is no earlier copy.
    """
    note = folder_of(text, parent) / "copy.json"
    hold(note.parent)
    try:
        copy = copy_of_module(text, parent, settings, progress)
    except Interrupted as error:
        with suppress(OSError, ValueError, KeyError, TypeError):
            before = json.loads(note.read_text("utf-8"))
            kept = Copy(note.parent / "files" / before["path"], Origin(before["shown"], is_local=False), before["name"])
            if kept.path.exists():
                return kept, error.message
        raise
    document = {"path": str(copy.path.relative_to(note.parent / "files")), "shown": copy.origin.shown, "name": copy.name}
    with replacing(note) as partial:
        partial.write_text(json.dumps(document) + "\n", "utf-8")
    return copy, ""


def _digests(digests: dict[str, str]) -> dict[str, str]:
    if len(digests) == 1:
        return {"sha256": next(iter(digests.values()))}
    return {"files": "\n".join(f"{digests[path]}  {path}" for path in sorted(digests))} if len(digests) <= _MOST_DIGESTS else {}


class StoreCopy:
    """Copy of a remote model store.

    Args:
        text: its address.
        parent: each address has a folder of its own in it.
        settings: limits.
        progress: called as it proceeds.
    """

    def __init__(self, text: str, parent: Path, settings: InstallSettings, progress: Progress = silent) -> None:
        self._text, self._settings = text, settings
        self._own = folder_of(text, parent)
        self._mirror = Mirror(self._own, "store", settings, progress)

    @property
    def folder(self) -> Path:
        """Folder of the models' folders."""
        return self._mirror.files

    @property
    def is_complete(self) -> bool:
        """Return True if it could be copied once."""
        return self._mirror.is_complete

    def sync(self, models: Collection[str] | None = None) -> Synced:
        """Bring the copy in line with the store.

        Args:
            models: those that are fetched; of others, what was fetched before stays as it is, and only the names of their folders and
                their configurations are new. None for all.
        Raises:
            HubError: the store cannot be read, or is refused; the copy is as it was.
        """
        remote = open_remote(self._text, self._settings)
        hold(self._own)
        before = self._mirror.paths()
        known = {path.partition("/")[0] for path in before if not path.endswith("/" + CONFIG_NAME)}
        folders: set[str] = set()

        def wanted(listing: Listing) -> Sequence[RemoteFile]:
            if listing.is_file:
                raise InstallError(f"'{remote.shown}' is a file, and no model store. Give the folder that holds the models' folders.")
            self._check_empty(listing, remote.shown, was_empty=not before)
            files = []
            for each in listing.files:
                model = each.path.partition("/")[0]
                if models is None or model in models or each.path == f"{model}/{CONFIG_NAME}" or each.path in before:
                    files.append(each)
                elif model not in known:
                    folders.add(each.path.rpartition("/")[0])
            return files

        synced = self._mirror.sync(remote, wanted)
        for each in folders:  # so that the models are listed
            (self._mirror.files / each).mkdir(parents=True, exist_ok=True)
        return synced

    def _check_empty(self, listing: Listing, shown: str, *, was_empty: bool) -> None:
        """Accept that a store is empty when two looks in a row find it so: an upload may begin by deleting everything."""
        seen = self._own / _SEEN_EMPTY
        if listing.files or (was_empty and self.is_complete):
            seen.unlink(missing_ok=True)
        elif not self.is_complete:
            raise InstallError(f"'{shown}' does not exist, or holds no files. Check the address.")
        elif not seen.exists():
            seen.touch()
            raise InstallError(f"'{shown}' lists no files any more; its models are served until the next look finds the same.")


def folder_of(text: str, parent: Path) -> Path:
    """Return the folder for the copy of an address."""
    digest = hashlib.sha256(text.rstrip("/").encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return parent / f"{safe_name(text.rstrip('/').rpartition('/')[2].partition('@')[0])[:40]}-{digest}"


def safe_name(text: str) -> str:
    """Turn a text into the name of a folder."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._-")[:100] or "model"
