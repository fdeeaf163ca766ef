"""Read what the process of a module writes to its standard output and standard error: never more than fits, and never waiting for it."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence

from hubserve.gateway.instances.frame_records import FrameRecords
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.instances.output_log import OutputLog
from hubserve.telemetry.request_record import RequestRecord
from hubserve.wire.output_marks import OutputLine, OutputLines

log = logging.getLogger("hubserve")

_READ_BYTES = 64 << 10
#: of one process that may be read in a window of time; a process that writes more waits for the next one
_WINDOW_S = 0.05
_WINDOW_BYTES = 1 << 20
#: lines and bytes a second that a process may log, and at once after it was quiet
_LINES_PER_S, _MOST_LINES = 1000.0, 4000.0
_BYTES_PER_S, _MOST_BYTES = 1e6, 4e6
#: for how long lines are left out once there were too many
_PAUSE_S = 2.0
#: after the end of a process: bytes that are read at once, and how long those are read that other processes write to its pipe
_LAST_BYTES = 4 << 20
_LINGER_S = 10.0
#: of a process that ends while its lines are left out: what is logged all the same, as it may say why the process ended
_LAST_WORDS_BYTES = 16 << 10
_LAST_LINES = 200


class _Allowance:
    """Allowance of lines and bytes, which grows with time."""

    def __init__(self) -> None:
        self._lines, self._bytes, self._at = _MOST_LINES, _MOST_BYTES, time.monotonic()

    def spend(self, size: int) -> bool:
        """Use it for a line; returns False if it does not suffice."""
        if self._lines < 1 or self._bytes < size:
            now = time.monotonic()
            self._lines = min(_MOST_LINES, self._lines + (now - self._at) * _LINES_PER_S)
            self._bytes = min(_MOST_BYTES, self._bytes + (now - self._at) * _BYTES_PER_S)
            self._at = now
            if self._lines < 1 or self._bytes < size:
                return False
        self._lines -= 1
        self._bytes -= size
        return True


class ModuleOutput:
    """The reading end of the pipe that is a process's standard output and standard error.

    It is created with both ends; :meth:`start` closes the writing end, which the process has then.

    Args:
        spec: of the process.
        frames: the requests of its frames.
        unanswered: returns the number of frames that the process has not answered, or has answered just now.

    Attributes:
        is_unmarked: whether something was written without a mark, as native code does.
        writing_fd: the writing end; -1 once it is closed.
    """

    def __init__(self, spec: InstanceSpec, frames: FrameRecords, unanswered: Callable[[], int] = int) -> None:
        self.is_unmarked = False
        self._frames = frames
        self._unanswered = unanswered
        self._log = OutputLog(spec)
        self._log_fields = spec.log_fields()
        self._lines = OutputLines()
        self._allowance = _Allowance()
        self._left_out = 0
        self._skipped = b""  # the end of what was left out
        self._pause_ends = 0.0
        self._window_ends = 0.0
        self._window_bytes = 0
        self._timers: list[asyncio.TimerHandle] = []
        self._loop = asyncio.get_running_loop()
        self._fd, self.writing_fd = os.pipe()
        os.set_blocking(self._fd, False)

    def start(self) -> None:
        """Begin to read; the process has the writing end."""
        self._close_writing_end()
        self._loop.add_reader(self._fd, self._on_readable)

    def _close_writing_end(self) -> None:
        if self.writing_fd >= 0:
            os.close(self.writing_fd)
            self.writing_fd = -1

    # --- reading ---

    def _on_readable(self) -> None:
        try:
            now = time.monotonic()
            if now > self._window_ends:
                self._window_ends, self._window_bytes = now + _WINDOW_S, 0
            self._window_bytes += self._read()
            if self._window_bytes > _WINDOW_BYTES and self._fd >= 0:
                self._loop.remove_reader(self._fd)
                self._timers.append(self._loop.call_later(_WINDOW_S, self._read_on))
        except Exception:
            log.exception("an unexpected error while the output of a module was read", extra=self._log_fields)

    def _read_on(self) -> None:
        self._timers = [each for each in self._timers if each.when() > self._loop.time()]
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._on_readable)

    def _read(self) -> int:
        """Read what is there, up to a limit; returns the number of bytes, and closes the pipe at its end."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if data:
            self._handle(data)
        else:
            self.close()
        return len(data)

    def _handle(self, data: bytes) -> None:
        if self._left_out:
            if time.monotonic() < self._pause_ends:
                self._left_out += self._lines.skip(data)
                self._skipped = (self._skipped + data)[-_LAST_WORDS_BYTES:]
                return
            self._report_left_out()
        lines = self._lines.feed(data)
        for index, line in enumerate(lines):
            if not self._allowance.spend(len(line.text)):
                self._left_out = len(lines) - index
                self._pause_ends = time.monotonic() + _PAUSE_S
                self._timers.append(self._loop.call_later(_PAUSE_S, self._report_left_out))
                return
            self._write(line)

    def _report_left_out(self) -> None:
        count, self._left_out = self._left_out, 0
        self._skipped = b""
        if count:
            self._log.say(logging.WARNING, f"{count} lines of the module's output were left out here, because it writes too much")

    def _write(self, line: OutputLine) -> None:
        records = self._frames.of(line.mark.frame, line.mark.call) if line.is_marked else self._records_of_unmarked(line)
        self.is_unmarked = self.is_unmarked or not line.is_marked
        self._log.write(line, records)

    def _records_of_unmarked(self, line: OutputLine) -> Sequence[RequestRecord | None]:
        """Return the requests that some output of native code was written for; once there was some, frames are asked to mark it."""
        unanswered = self._unanswered()
        if not unanswered:
            return ()
        return self._frames.of(line.mark.frame, line.mark.call) or self._frames.latest(unanswered)

    # --- the end ---

    def finish(self) -> None:
        """Read the last output of a process that has ended; go on for a while with that of processes which it has left behind."""
        self._close_writing_end()
        self._write_last(self._read_last() if self._fd >= 0 else b"")
        if self._fd >= 0:
            self._timers.append(self._loop.call_later(_LINGER_S, self.close))

    def _read_last(self) -> bytes:
        """Return what a process that has ended left in the pipe."""
        data = b""
        with contextlib.suppress(OSError):
            while len(data) < _LAST_BYTES and (part := os.read(self._fd, _READ_BYTES)):
                data += part
        return data

    def _write_last(self, data: bytes) -> None:
        """Log the last output, of which the end is never left out, and lines that were not completed."""
        if self._left_out:
            last = (self._skipped + data)[-_LAST_WORDS_BYTES:]
            last = last[last.find(b"\n") + 1 :]
            self._left_out = max(0, self._left_out + data.count(b"\n") - last.count(b"\n"))
            self._lines, data = OutputLines(), last
            self._report_left_out()
        lines = self._lines.feed(data)
        for index, line in enumerate(lines):
            if index < len(lines) - _LAST_LINES and not self._allowance.spend(len(line.text)):
                self._left_out += 1
            else:
                self._report_left_out()
                self._write(line)
        for line in self._lines.close():
            self._write(line)

    def close(self) -> None:
        """Stop reading."""
        self._close_writing_end()
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        for timer in self._timers:
            timer.cancel()
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            self._loop.remove_reader(fd)
        os.close(fd)
        self._write_last(b"")
