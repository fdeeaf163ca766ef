"""Write log lines without ever blocking those who log: a full disk or a reader that has stopped costs lines, not requests."""

import logging
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable

from hubserve.telemetry.log_file import Destination

#: lines and bytes that may wait while the destination is blocked
_MOST_LINES = 20_000
_MOST_BYTES = 8 << 20
#: bytes that a pipe which is ready takes at once (PIPE_BUF)
_ATOMIC_BYTES = 4096
_RETRY_S = 0.5
#: lines that are written at once
_LINES_AT_ONCE = 1024


class LineWriter:
    """Writer of lines, with a thread for those that cannot be written at once.

    Args:
        destination: of the lines.
        describe_lost: returns the line that says how many were lost.
        delay_s: for which lines are collected before they are written; 0 to write each at once where that cannot block.
    """

    def __init__(self, destination: Destination, describe_lost: Callable[[int], bytes], delay_s: float = 0.0) -> None:
        self._destination = destination
        self._describe_lost = describe_lost
        self._delay_s = delay_s
        self._lines: deque[bytes] = deque()
        # each counter is changed on one side only: by those who log, or by the thread
        self._added_bytes = self._taken_bytes = 0
        self._dropped = self._unwritten = self._reported = 0
        self._writing = threading.Lock()
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._closed = False
        self._is_file = stat.S_ISREG(os.fstat(destination.fileno()).st_mode)

    def write(self, line: bytes) -> None:
        """Write a line, or have it written as soon as possible.

        Args:
            line: with its line feed.
        """
        if not self._delay_s and not self._lines and not self._missing and self._write_now(line):
            return
        added = self._added_bytes + len(line)
        if len(self._lines) >= _MOST_LINES or added - self._taken_bytes > _MOST_BYTES:
            self._dropped += 1
            return
        self._added_bytes = added
        self._lines.append(line)
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="hubserve-log", daemon=True)
            self._thread.start()
        if not self._delay_s:
            with self._changed:
                self._changed.notify()

    @property
    def _missing(self) -> int:
        """Number of lines that were lost, and of which the log does not say so yet."""
        return self._dropped + self._unwritten - self._reported

    def _write_now(self, line: bytes) -> bool:
        """Write a line if that cannot block; returns whether it was written."""
        if not self._is_file and len(line) > _ATOMIC_BYTES:
            return False
        if not self._writing.acquire(blocking=False):
            return False
        try:
            if not self._is_file:
                poll = select.poll()
                poll.register(self._destination.fileno(), select.POLLOUT)
                if not poll.poll(0):
                    return False
            self._destination.write(line)
        except OSError:
            return False
        finally:
            self._writing.release()
        return True

    def _run(self) -> None:
        while not (self._closed and not self._lines):
            with self._changed:
                if not self._lines or self._delay_s:
                    self._changed.wait(self._delay_s or _RETRY_S)
            self._write_waiting()

    def _write_waiting(self) -> None:
        while self._lines or self._missing:
            some = [self._lines.popleft() for _ in range(min(len(self._lines), _LINES_AT_ONCE))]
            self._taken_bytes += sum(map(len, some))
            text = b"".join(some)
            missing = self._missing
            self._reported += missing
            if missing:
                text += self._describe_lost(missing)
            try:
                with self._writing:
                    self._destination.write(text)
            except OSError:
                self._unwritten += missing + len(some)
                if self._closed:
                    self._lines.clear()
                    return
                time.sleep(_RETRY_S)

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what waits, for at most ``timeout_s``."""
        self._closed = True
        with self._changed:
            self._changed.notify()
        if self._thread:
            self._thread.join(timeout_s)
            self._thread = None


class WriterHandler(logging.Handler):
    """Handler of :mod:`logging` that writes by a :class:`LineWriter`."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._writer.write((self.format(record) + "\n").encode("utf-8", "backslashreplace"))
        except Exception:
            self.handleError(record)
