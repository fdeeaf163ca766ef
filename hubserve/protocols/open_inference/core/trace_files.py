"""Writes traces into one folder: each file is a JSON array at any time, however the server ends."""

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import orjson

log = logging.getLogger("hubserve")

_WRITE_EVERY_S = 1.0
_MOST_WAITING = 100
#: what clients may have written by one server, in all its files
_MOST_BYTES = 256 << 20
_MOST_FILES = 1000
_END = b"\n]\n"


class TraceFiles:
    """The files of one folder. A file that was there before is begun anew.

    Args:
        folder: where they are to be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: dict[str, list[bytes]] = {}
        self._count = 0
        self._ends: dict[str, int] = {}
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False

    def add(self, name: str, trace: dict[str, Any]) -> None:
        """Have a trace written soon.

        Args:
            name: of the file.
            trace: an element of the array.
        """
        if self._is_over:
            return
        self._waiting.setdefault(name, []).append(orjson.dumps(trace))
        self._count += 1
        if self._count >= _MOST_WAITING:
            self.write()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WRITE_EVERY_S, self.write)

    def write(self) -> None:
        """Write what waits. What cannot be written is told in the log, and ends the writing."""
        if self._timer:
            self._timer.cancel()
        self._timer, self._count = None, 0
        waiting, self._waiting = self._waiting, {}
        for name, traces in waiting.items():
            content = b",\n".join(traces)
            self._bytes += len(content)
            if self._bytes > _MOST_BYTES or (name not in self._ends and len(self._ends) >= _MOST_FILES):
                self._give_up(f"there are {len(self._ends)} files with {self._bytes >> 20} MiB, which is the most that one server writes")
                return
            try:
                self._append(name, content)
            except OSError as error:
                self._give_up(f"'{self._folder / name}' cannot be written: {error.strerror}")
                return

    def _append(self, name: str, content: bytes) -> None:
        end = self._ends.get(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_TRUNC if end is None else 0)
        descriptor = os.open(self._folder / name, flags, 0o600)
        with open(descriptor, "wb") as file:
            if end is not None:
                file.seek(end)
            file.write((b"[\n" if end is None else b",\n") + content)
            self._ends[name] = file.tell()
            file.write(_END)

    def _give_up(self, reason: str) -> None:
        self._is_over = True
        log.error("no more traces are written: %s. Start the server again once there is room.", reason)
