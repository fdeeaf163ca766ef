"""Signals that end the gateway."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any


class ShutdownSignals:
    """Handlers of the signals that end the server.

    SIGTERM, SIGINT (Ctrl-C) and SIGHUP (the terminal was closed) let requests in progress finish. SIGQUIT, and a second
    SIGINT, do not. SIGHUP stays ignored in a process that was started so, as ``nohup`` does.
    """

    def __init__(self) -> None:
        self._received = asyncio.Event()
        self._immediate = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGQUIT, self._stop_now)

    def _stop(self, number: signal.Signals) -> None:
        if number == signal.SIGINT and self._received.is_set():
            self._stop_now()
        self._received.set()

    def _stop_now(self) -> None:
        self._received.set()
        self._immediate.set()

    @property
    def is_received(self) -> bool:
        """Return True if a signal was received."""
        return self._received.is_set()

    async def wait(self) -> None:
        """Wait for a signal."""
        await self._received.wait()

    async def run_unless_immediate(self, drain: Coroutine[Any, Any, None]) -> bool:
        """Let requests in progress finish, unless a signal requests an immediate end.

        Args:
            drain: waits for the requests; cancelled by such a signal.
        Returns:
            True if it finished.
        """
        draining, immediate = asyncio.create_task(drain), asyncio.create_task(self._immediate.wait())
        try:
            await asyncio.wait({draining, immediate}, return_when=asyncio.FIRST_COMPLETED)
            if draining.done():
                draining.result()
            return draining.done()
        finally:
            for task in (draining, immediate):
                task.cancel()
            await asyncio.gather(draining, immediate, return_exceptions=True)


def drop_lost_output() -> None:
    """Discard buffered output for a closed terminal or pipe: otherwise Python would end with status 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, stream.fileno())
            os.close(devnull)
