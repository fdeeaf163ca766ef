"""The event loop in which a model's coroutines run."""

import asyncio
import threading
import time
from concurrent.futures import Future
from typing import Any, Coroutine, Optional

#: the time that cancelled coroutines get at the end
_END_S = 1.0


class ModelLoop:
    """An event loop in a thread of its own, which starts on first use."""

    def __init__(self) -> None:
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._thread: Optional[threading.Thread] = None
        self._beat = threading.Event()
        self._beat.set()
        self._asked_at = 0.0

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> "Future[Any]":
        """Run a coroutine concurrently with others, in this thread's context; return the future of its result."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._run, args=(self._loop,), name="hubserve-execute", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()

    def wait_if_held_up(self, limit_s: float) -> None:
        """Block until the loop runs again, if a coroutine has blocked it for more than ``limit_s`` seconds."""
        if self._loop is None:
            return
        if self._beat.is_set():
            self._beat.clear()
            self._asked_at = time.monotonic()
            self._loop.call_soon_threadsafe(self._beat.set)
        elif time.monotonic() - self._asked_at > limit_s:
            self._beat.wait()

    def stop(self) -> None:
        """Cancel running coroutines, and end the loop."""
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._cancel_all(self._loop), self._loop)
        self._thread.join(_END_S)

    @staticmethod
    async def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
        tasks = [each for each in asyncio.all_tasks(loop) if each is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_END_S / 2)
        loop.stop()
