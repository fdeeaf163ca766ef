"""When the gateway ends, and how: by which signal."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any


class Ending:
    """Learns from signals that the server is to end.

    SIGTERM, SIGINT (Ctrl-C) and SIGHUP (the terminal was closed) let requests in progress finish. SIGQUIT, and SIGINT for the second
    time, do not. SIGHUP keeps being ignored in a process that was started so, as ``nohup`` does.
    """

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, self._ask, number)
        loop.add_signal_handler(signal.SIGQUIT, self._hurry)

    def _ask(self, number: signal.Signals) -> None:
        if number == signal.SIGINT and self._asked.is_set():
            self._hurry()
        self._asked.set()

    def _hurry(self) -> None:
        self._asked.set()
        self._hurried.set()

    @property
    def is_asked(self) -> bool:
        """Return True if the server was asked to end."""
        return self._asked.is_set()

    async def asked(self) -> None:
        """Wait until the server is to end."""
        await self._asked.wait()

    async def unless_hurried(self, drain: Coroutine[Any, Any, None]) -> bool:
        """Let requests in progress finish, unless the server must end at once.

        Args:
            drain: waits for the requests; is cancelled if there is no time for it.
        Returns:
            Whether it finished.
        """
        draining, hurried = asyncio.create_task(drain), asyncio.create_task(self._hurried.wait())
        try:
            await asyncio.wait({draining, hurried}, return_when=asyncio.FIRST_COMPLETED)
            if draining.done():
                draining.result()
            return draining.done()
        finally:
            for task in (draining, hurried):
                task.cancel()
            await asyncio.gather(draining, hurried, return_exceptions=True)


def drop_lost_output() -> None:
    """Discard text for a terminal or pipe that is gone: Python would end with status 120 because it cannot write it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
