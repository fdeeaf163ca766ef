"""Detect the end of a child process by its pid: its sockets may live on in processes that it has forked."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable

#: poll interval if the kernel has no process descriptors, or none is left
_LOOK_EVERY_S = 0.1


class ExitWatch:
    """Watch on a child process: calls a function once when it has ended, and reaps it.

    Args:
        child: the process.
        on_exit: called on the event loop.
    """

    def __init__(self, child: "subprocess.Popen[bytes]", on_exit: Callable[[], None]) -> None:
        self._child = child
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._fd = -1
        try:
            self._fd = os.pidfd_open(child.pid)
            self._loop.add_reader(self._fd, self._look)
        except (AttributeError, OSError):
            self._close()
            self._look_later()

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(_LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        if self._child.poll() is None:
            if self._fd < 0:
                self._look_later()
            return
        self.stop()
        self._on_exit()

    def stop(self) -> None:
        """Stop watching."""
        if self._timer:
            self._timer.cancel()
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError, ValueError):
                self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
