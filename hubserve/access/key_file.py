"""Change a file of keys: one process at a time, and in one step for those who read it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hubserve.access.stored_keys import StoredKey, format_keys, parse_keys
from hubserve.errors import ConfigError

_LOCK_TIMEOUT_S = 30.0
_PRIVATE = 0o600
#: a group may be let read the file, as that of the server's user, and only its owner may change it
_KEPT_BITS = 0o040


def read_keys(path: Path) -> list[StoredKey]:
    """Return the keys of a file.

    Raises:
        ConfigError: it cannot be read, or is not a file of keys.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the file of keys '{path}': {error.strerror}. Create a first key: hub access create '{path}' --name NAME "
            "--modules MODULE"
        ) from None
    return parse_keys(content, path)


@contextmanager
def changing(path: Path) -> Iterator[list[StoredKey]]:
    """Yield the keys of a file, empty if there is no file, and write them back afterwards.

    Raises:
        ConfigError: it cannot be read or written, is not a file of keys, or another process keeps its lock.
    """
    from filelock import FileLock, Timeout

    path = Path(os.path.realpath(path))  # a link stays one
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=_LOCK_TIMEOUT_S, mode=_PRIVATE):
            keys = read_keys(path) if path.exists() else []
            yield keys
            _replace(path, format_keys(keys))
    except Timeout:
        raise ConfigError(f"another process has been changing '{path}' for more than {_LOCK_TIMEOUT_S:g} s. Try again later.") from None
    except OSError as error:
        raise ConfigError(
            f"cannot write the file of keys '{path}': {error.strerror or error}. Choose a folder that you may write."
        ) from None


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step; a new one can be read by its owner only, an old one keeps its owner and group."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    before = path.stat() if path.exists() else None
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE), "wb") as file:
            if before is not None:
                with suppress(PermissionError):
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(file.fileno(), _PRIVATE | (before.st_mode & _KEPT_BITS))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
