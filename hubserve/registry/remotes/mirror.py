"""A copy of a remote folder on this machine, kept in line with it: only what has changed is fetched."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.file_replacement import replacing
from hubserve.registry.progress import Progress, silent
from hubserve.registry.remotes.base import Listing, Remote, RemoteFile

_STATE = "state.json"
_SCHEMA = 1


class Synced(NamedTuple):
    """Effect of bringing a mirror in line.

    Attributes:
        listing: what the remote has.
        fetched: paths of the files that were fetched.
        removed: paths of the files that were removed.
    """

    listing: Listing
    fetched: Sequence[str]
    removed: Sequence[str]


class _Sum:
    """Progress over several files, from that of one of them."""

    def __init__(self, progress: Progress, before_bytes: int, all_bytes: int) -> None:
        self._progress, self._before_bytes, self._all_bytes = progress, before_bytes, all_bytes

    def __call__(self, step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
        """Report the bytes of all files."""
        if step == "fetching":
            done_bytes += self._before_bytes
            self._progress(step, done_bytes, max(self._all_bytes, done_bytes))
        elif not total_bytes:
            self._progress(step)


class Mirror:
    """Copy of a remote folder.

    The files are in :attr:`files`; a new folder appears there with everything in it, and a changed file replaces the old one in one step,
    both only after everything was fetched. Unfinished files are in ``parts``, from where another call, also in another process, goes on.

    Args:
        folder: everything is in it; created if it is missing.
        name: of the folder of the files.
        settings: how long to wait for another process that fetches the same.
        progress: called as it proceeds.

    Attributes:
        files: the copy.
    """

    def __init__(self, folder: Path, name: str, settings: InstallSettings, progress: Progress = silent) -> None:
        self._folder, self._settings, self._progress = folder, settings, progress
        self.files = folder / "files" / name

    @property
    def is_complete(self) -> bool:
        """Return True if it was in line with the remote once."""
        return (self._folder / _STATE).is_file() and self.files.is_dir()

    def sync(self, remote: Remote, choose: Callable[[Listing], Sequence[RemoteFile]] | None = None) -> Synced:
        """Bring the copy in line with the remote.

        Args:
            remote: the folder.
            choose: returns those of the listed files that are wanted; all by default.
        Raises:
            HubError: the remote cannot be read, or is refused; the copy is as it was.
            OSError: the copy cannot be written.
        """
        with self._locked():
            self._progress("listing " + remote.shown)
            listing = remote.listing()
            wanted = choose(listing) if choose else listing.files
            state = self._read_state()
            changed = [each for each in wanted if not self._has(each, state)]
            digests = self._fetch(remote, changed)
            removed = sorted(state.keys() - {each.path for each in wanted})
            self._apply(changed, removed)
            kept = {each.path: state[each.path] for each in wanted if each.path in state and each.path not in digests}
            self._write_state(remote, listing, kept | {each.path: self._entry(each, digests[each.path]) for each in changed})
            shutil.rmtree(self._folder / "parts", ignore_errors=True)
        return Synced(listing, [each.path for each in changed], removed)

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each file by its path, as they were fetched."""
        return {path: str(entry.get("sha256", "")) for path, entry in self._read_state().items()}

    def paths(self) -> set[str]:
        """Return the paths of the files that were copied."""
        return {*self._read_state()}

    def _fetch(self, remote: Remote, changed: Sequence[RemoteFile]) -> dict[str, str]:
        total_bytes, done_bytes, digests = sum(each.size_bytes or 0 for each in changed), 0, {}
        for each in changed:
            part = self._part(each)
            part.mkdir(parents=True, exist_ok=True)

            digests[each.path] = remote.fetch(each, part, _Sum(self._progress, done_bytes, total_bytes))
            done_bytes += (part / "data").stat().st_size
        return digests

    def _part(self, file: RemoteFile) -> Path:
        text = f"{file.path}\n{file.size_bytes}\n{file.marker}"
        return self._folder / "parts" / hashlib.sha256(text.encode()).hexdigest()[:32]

    def _has(self, file: RemoteFile, state: dict[str, dict[str, Any]]) -> bool:
        entry = state.get(file.path)
        if not entry or not file.marker or (entry["marker"], entry["listed_bytes"]) != (file.marker, file.size_bytes):
            return False
        try:
            stat = (self.files / file.path).lstat()
        except OSError:
            return False
        return (stat.st_size, stat.st_mtime_ns) == (entry["size_bytes"], entry["mtime_ns"])

    def _entry(self, file: RemoteFile, sha256: str) -> dict[str, Any]:
        stat = (self.files / file.path).lstat()
        return {
            "marker": file.marker,
            "listed_bytes": file.size_bytes,
            "size_bytes": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "sha256": sha256,
        }

    def _apply(self, changed: Sequence[RemoteFile], removed: Sequence[str]) -> None:
        """Put fetched files in place: whole folders first, then files in existing ones; then remove what is gone."""
        self.files.mkdir(parents=True, exist_ok=True)
        staging = self._folder / "staging"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        tops: dict[Path, Path] = {}
        in_place = []
        for each in changed:
            target = self.files / each.path
            top = self._missing_top(target)
            if top is None:
                in_place.append(each)
                continue
            staged = tops.setdefault(top, staging / str(len(tops))) / target.relative_to(top)
            staged.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._part(each) / "data", staged)
        for top, staged in tops.items():
            if top.is_symlink() or top.is_file():
                top.unlink()
            os.rename(staged, top)
        for each in in_place:
            target = self.files / each.path
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(self._part(each) / "data", target)
        for path in removed:
            self._remove(path)
        shutil.rmtree(staging, ignore_errors=True)

    def _missing_top(self, target: Path) -> Path | None:
        """Return the uppermost folder of a file that does not exist yet."""
        for parent in reversed(target.relative_to(self.files).parents[:-1]):
            if not (self.files / parent).is_dir():
                return self.files / parent
        return None

    def _remove(self, path: str) -> None:
        target = self.files / path
        with suppress(OSError):  # replaced by a folder of that name
            target.unlink()
        for parent in target.relative_to(self.files).parents[:-1]:
            folder = self.files / parent
            with suppress(OSError):
                if {each.name for each in folder.iterdir()} <= {"__pycache__"}:  # Python makes it where it runs a file
                    shutil.rmtree(folder)

    def _read_state(self) -> dict[str, dict[str, Any]]:
        with suppress(OSError, ValueError, KeyError, AttributeError):
            document = json.loads((self._folder / _STATE).read_text("utf-8"))
            if document["schema_version"] == _SCHEMA:
                return dict(document["files"])
        return {}

    def _write_state(self, remote: Remote, listing: Listing, files: dict[str, dict[str, Any]]) -> None:
        document = {"schema_version": _SCHEMA, "address": remote.shown, "revision": listing.revision, "files": files}
        with replacing(self._folder / _STATE) as partial:
            partial.write_text(json.dumps(document, indent=0, ensure_ascii=True) + "\n", "ascii")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        self._folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._folder / "lock")
        try:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                self._progress("waiting for another process that fetches the same")
                lock.acquire(timeout=self._settings.lock_timeout_s, poll_interval=0.05)
        except Timeout:
            raise InstallError(
                f"another hub process has been fetching the same files for more than {self._settings.lock_timeout_s} s. Wait for it or "
                "stop it, then try again."
            ) from None
        try:
            yield
        finally:
            lock.release()
