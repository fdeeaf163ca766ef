"""Mark what the module's Python code writes; see :mod:`hubserve.wire.output_marks`."""

import io
import logging
import os
import sys
import threading
from types import FrameType
from typing import Any, Optional, Tuple

from hubserve.wire.current_requests import current_frame
from hubserve.wire.output_marks import ERROR, INFO, WHOLE, Mark, marked

_EMIT = logging.StreamHandler.emit.__code__
_HANDLE = logging.Handler.handle.__code__
#: functions between a handler and the stream that it writes to
_MOST_CALLERS = 8
#: modules of the standard library, by which it writes warnings and tracebacks, and the level of those
_WRITERS = {"warnings": logging.WARNING, "_py_warnings": logging.WARNING, "traceback": ERROR}
#: a function of it writes the traceback of a thread that failed
_EXCEPTHOOK = ("threading", "invoke_excepthook")
#: the logger of the Python backend, and the levels of its constants WARNING and ERROR
_TRITON_LOGGER = "hubserve.kinds.triton.api.logger"
_TRITON_LEVELS = {1: logging.WARNING, 2: ERROR}
_PIPE_FDS = (1, 2)
_pipe: "Tuple[int, int]" = (0, 0)


class MarkedOutput(io.FileIO):
    """A raw stream whose output is marked, for as long as its descriptor is the pipe to the gateway: a module may redirect it.

    Args:
        fd: 1 or 2; it stays open.
        name: of the stream.
    """

    def __init__(self, fd: int, name: str) -> None:
        super().__init__(fd, "w", closefd=False)
        self.name = name

    def write(self, data: Any) -> int:
        """Write all of some bytes, and return how many they are."""
        text, fd = bytes(data), self.fileno()
        if not text:
            return 0
        parts = marked(text, _mark_of(sys._getframe().f_back)) if _is_pipe(fd) else iter((text,))
        for part in parts:
            _write_all(fd, part)
        return len(text)


def mark_output() -> None:
    """Mark what is written through ``sys.stdout`` and ``sys.stderr`` from now on; descriptors 1 and 2 are a pipe to the gateway."""
    global _pipe  # noqa: PLW0603 - a property of the process
    _pipe = _identity(_PIPE_FDS[1])
    sys.stdout = sys.__stdout__ = _stream(1, sys.stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2, sys.stderr)  # type: ignore[misc]


def _stream(fd: int, before: Any) -> io.TextIOWrapper:
    raw = MarkedOutput(fd, before.name)
    stream = io.TextIOWrapper(raw, encoding=before.encoding, errors=before.errors, newline="\n", write_through=True)
    stream.mode = "w"  # type: ignore[misc]  # as of the stream before
    return stream


def mark_frame() -> None:
    """Say which frame the output of native code belongs to from now on."""
    frame = current_frame()
    if frame is None or not _is_pipe(_PIPE_FDS[1]):
        return
    for part in marked(b"", Mark(frame.number, frame.call)):
        _write_all(_PIPE_FDS[1], part)


def name_output(shown_as: str) -> None:
    """Say what this instance is called, for a reader that does not know it."""
    if _is_pipe(_PIPE_FDS[1]):
        for part in marked(b"", Mark(logger=shown_as)):
            _write_all(_PIPE_FDS[1], part)


def write_error(text: str) -> None:
    """Write a message of several lines, such as a traceback, as one."""
    sys.stderr.write(text if text.endswith("\n") else text + "\n")


_WRITE_ERROR = write_error.__code__


def _identity(fd: int) -> Tuple[int, int]:
    try:
        found = os.fstat(fd)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def _is_pipe(fd: int) -> bool:
    return _pipe[1] != 0 and _identity(fd) == _pipe


def _mark_of(caller: Optional[FrameType]) -> Mark:
    """Return the mark of output.

    Args:
        caller: the function that writes it; None for the interpreter itself, which writes the traceback that ends a program.
    """
    level, logger, flags = INFO, "", 0
    record = _handled_record(caller)
    if caller is None:
        level = ERROR
    elif record is not None:
        level, logger = max(0, min(record.levelno, 100)), record.name
        flags = WHOLE if caller.f_code is _EMIT else 0  # other handlers may write a message piece by piece
    elif caller.f_code is _WRITE_ERROR:
        level, flags = ERROR, WHOLE
    elif caller.f_globals.get("__name__") == _TRITON_LOGGER:
        level, flags = _TRITON_LEVELS.get(int(caller.f_locals.get("level", 0)), INFO), WHOLE
    else:
        writer = caller.f_globals.get("__name__", "")
        level = ERROR if (writer, caller.f_code.co_name) == _EXCEPTHOOK else _WRITERS.get(writer, INFO)
        if level == logging.WARNING:
            flags = WHOLE
    frame = current_frame()
    thread = threading.get_ident()
    if frame is None:
        return Mark(0, -1, thread, level, flags, logger)
    return Mark(frame.number, frame.call, thread, level, flags, logger, frame.ids())


def _handled_record(caller: Optional[FrameType]) -> Optional[logging.LogRecord]:
    """Return the record for which a handler of :mod:`logging` writes; None if none does."""
    for _ in range(_MOST_CALLERS):
        if caller is None:
            return None
        if caller.f_code is _HANDLE:
            record = caller.f_locals.get("record")
            return record if isinstance(record, logging.LogRecord) else None
        caller = caller.f_back
    return None


def _write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
