"""Timer with microsecond resolution for an event loop, whose own timers count whole milliseconds, as long as many responses take."""

import asyncio
import contextlib
import ctypes
import os
import time
from collections.abc import Callable

# Linux's names and numbers, from time.h and sys/timerfd.h
_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1


class PreciseTimer:
    """Timer that calls back once for each time that is set.

    Args:
        callback: called at the set time.
    """

    def __init__(self, callback: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._callback = callback
        self._timer: asyncio.TimerHandle | None = None
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._open()
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._fire)

    def _open(self) -> int:
        try:
            return int(self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        except AttributeError:  # not Linux: the loop's own timers must do
            return -1

    def set(self, when: float) -> None:
        """Set the time, on the clock of ``time.monotonic``; fire at once if it has passed. Replaces the previous time."""
        if self._fd < 0:
            self.cancel()
            self._timer = self._loop.call_later(max(0.0, when - time.monotonic()), self._callback)
            return
        nanoseconds = max(1, round(when * 1e9))  # 0 would stop the timer
        value = (ctypes.c_long * 4)(0, 0, *divmod(nanoseconds, 1_000_000_000))
        self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, value, None)

    def _fire(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)
        self._callback()

    def cancel(self) -> None:
        """Cancel the set time."""
        if self._timer:
            self._timer.cancel()

    def close(self) -> None:
        """Release the timer; it never fires again."""
        self.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
