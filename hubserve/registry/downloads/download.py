"""Download files into a folder that later calls, in this process or another, can resume from."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.digests import CHUNK_BYTES, check_digest
from hubserve.registry.downloads.addresses import without_secrets
from hubserve.registry.downloads.partial_file import PartialFile, Wanted, check_size
from hubserve.registry.progress import Progress
from hubserve.registry.version_dirs import DirectoryLock


class Downloaded(NamedTuple):
    """A downloaded file.

    Attributes:
        path: the file.
        sha256: 64 hexadecimal digits.
    """

    path: Path
    sha256: str


@contextmanager
def downloaded(wanted: Wanted, folder: Path, settings: InstallSettings, progress: Progress) -> Iterator[Downloaded]:
    """Download a file, or the rest of it, and keep it for the duration of the context; after a failure it stays for the next time.

    Args:
        wanted: the file.
        folder: the folder of downloads, each in a folder of its own. Another process that wants the same file waits.
        settings: limit the size, and how long a server may be silent.
        progress: called as it proceeds.
    Raises:
        InstallError: the server refuses, or the file is too large or has another digest.
        Interrupted: the connection failed several times in a row; what was received is kept.
    """
    with _own_folder(folder, wanted, settings, progress, resumable=True) as own:
        partial = PartialFile(own, wanted, settings, progress)
        resumed = partial.size_bytes > 0
        sha256 = partial.complete()
        if resumed and wanted.sha256 not in ("", sha256):  # the part from before may belong to another file
            partial.delete()
            sha256 = partial.complete()
        if wanted.sha256 not in ("", sha256):
            partial.delete()
        check_digest(f"'{without_secrets(wanted.url)}'", sha256, wanted.sha256)
        yield Downloaded(partial.path, sha256)


@contextmanager
def copied(source: Path, wanted: Wanted, folder: Path, settings: InstallSettings, progress: Progress) -> Iterator[Downloaded]:
    """Copy a file of this machine that others may change, and verify the copy; see :func:`downloaded`.

    Raises:
        InstallError: it cannot be read, is too large, or has another digest.
    """
    with _own_folder(folder, wanted, settings, progress, resumable=False) as own:
        path, digest, done_bytes = own / "data", hashlib.sha256(), 0
        try:
            with source.open("rb") as reader, path.open("wb") as writer:
                total_bytes = os.fstat(reader.fileno()).st_size
                while chunk := reader.read(CHUNK_BYTES):
                    done_bytes += len(chunk)
                    check_size(done_bytes, wanted, settings)
                    digest.update(chunk)
                    writer.write(chunk)
                    progress("fetching", done_bytes, total_bytes)
        except OSError as error:
            raise InstallError(f"cannot fetch '{source}': {error}. Fix the problem and try again.") from error
        check_digest(f"'{source}'", digest.hexdigest(), wanted.sha256)
        yield Downloaded(path, digest.hexdigest())


@contextmanager
def _own_folder(folder: Path, wanted: Wanted, settings: InstallSettings, progress: Progress, *, resumable: bool) -> Iterator[Path]:
    """Yield a folder for one download, locked against other processes; delete it on success, and on failure unless it is resumable."""
    from filelock import FileLock, Timeout

    name = hashlib.sha256((wanted.url + "\n" + wanted.sha256).encode()).hexdigest()[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress("waiting for another process that fetches the same")
            lock.acquire(timeout=settings.lock_timeout_s, poll_interval=0.05)
        own = folder / name
        own.mkdir(exist_ok=True)
        directory_lock = DirectoryLock(own)
    except Timeout:
        raise InstallError(
            f"another hub process has been fetching the same file for more than {settings.lock_timeout_s} s. Wait for it or stop it, then "
            "try again."
        ) from None
    except OSError as error:
        raise InstallError(f"cannot write '{folder}': {error}. Fix the problem and try again.") from error
    try:
        yield own
        shutil.rmtree(own, ignore_errors=True)
    except BaseException:
        if not resumable:
            shutil.rmtree(own, ignore_errors=True)
        raise
    finally:
        directory_lock.release()
        lock.release()
