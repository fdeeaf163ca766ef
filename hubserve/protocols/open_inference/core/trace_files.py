"""Write traces into files that are valid JSON arrays at any time, however the server ends."""

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import orjson

log = logging.getLogger("hubserve")

_WRITE_EVERY_S = 1.0
_MAX_BUFFERED = 100
#: limits of what clients can make one server write
_MAX_BYTES = 256 << 20
_MAX_FILES = 1000
_END = b"\n]\n"


class TraceFiles:
    """Trace files of one folder, written about once a second. A file left by an earlier server is overwritten.

    Args:
        folder: of the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buffered: dict[str, list[bytes]] = {}
        self._count = 0
        self._ends: dict[str, int] = {}
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._has_failed = False

    def add(self, name: str, trace: dict[str, Any]) -> None:
        """Buffer a trace.

        Args:
            name: of the file.
            trace: becomes an element of the array.
        """
        if self._has_failed:
            return
        self._buffered.setdefault(name, []).append(orjson.dumps(trace))
        self._count += 1
        if self._count >= _MAX_BUFFERED:
            self.write()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WRITE_EVERY_S, self.write)

    def write(self) -> None:
        """Write the buffered traces; after a failure, which is logged, no more are written."""
        if self._timer:
            self._timer.cancel()
        self._timer, self._count = None, 0
        buffered, self._buffered = self._buffered, {}
        for name, traces in buffered.items():
            content = b",\n".join(traces)
            self._bytes += len(content)
            if self._bytes > _MAX_BYTES or (name not in self._ends and len(self._ends) >= _MAX_FILES):
                self._give_up(f"there are {len(self._ends)} files with {self._bytes >> 20} MiB, which is the limit of one server")
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
        self._has_failed = True
        log.error("no more traces are written: %s. Start the server again once there is room.", reason)
