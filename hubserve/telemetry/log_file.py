"""Destinations of log lines: standard error, or a file that is rotated here or by other programs."""

import contextlib
import fcntl
import os
import sys
from pathlib import Path
from typing import Protocol

_MB = 1 << 20
_LINE_FEED = ord("\n")


class Destination(Protocol):
    """Destination of complete lines."""

    def write(self, lines: bytes) -> None:
        """Write complete lines; may block.

        Raises:
            OSError: they cannot be written.
        """

    def fileno(self) -> int:
        """Return the descriptor."""


class StandardError:
    """Standard error of this process."""

    def fileno(self) -> int:
        """Return its descriptor."""
        return 2

    def write(self, lines: bytes) -> None:
        """Write complete lines."""
        sys.stderr.flush()
        left = memoryview(lines)
        while left:
            left = left[os.write(2, left) :]


class LogFile:
    """A file of lines, which several processes may share.

    It is opened again when another program, such as logrotate, has moved or removed it.

    Args:
        path: of the file; its folder is made.
        max_mb: size at which it is renamed to ``<path>.1``; 0 for no limit.
        kept: number of renamed files that are kept.
    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, max_mb: int, kept: int) -> None:
        self._path = path
        self._max_bytes = max_mb * _MB
        self._kept = kept
        self._fd = -1
        self._is_torn = False  # its last line is incomplete, because the disk was full
        self._open()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if self._fd >= 0:
            os.close(self._fd)
            self._is_torn = False
        self._fd = fd

    def write(self, lines: bytes) -> None:
        """Write complete lines."""
        if not self._is_current():
            self._open()
        if self._max_bytes and (size := os.fstat(self._fd).st_size) and size + len(lines) > self._max_bytes:
            self._rotate()
        if self._is_torn:
            lines = b"\n" + lines
        left = memoryview(lines)
        while left:
            left = left[os.write(self._fd, left) :]
            self._is_torn = len(left) > 0 and lines[len(lines) - len(left) - 1] != _LINE_FEED

    def _is_current(self) -> bool:
        """Return True if the path still names the open file."""
        try:
            named, opened = os.stat(self._path), os.fstat(self._fd)
        except OSError:
            return False
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)

    def _rotate(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)  # held by one of the processes that share the file; closing releases it
        if self._is_current():
            for number in range(self._kept, 0, -1):
                older = self._numbered(number - 1) if number > 1 else self._path
                with contextlib.suppress(FileNotFoundError):
                    older.replace(self._numbered(number))
            if not self._kept:
                os.ftruncate(self._fd, 0)
        self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
