"""Limit calls that last as long as their clients want, and end them when the server stops."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from hubserve.errors import Overloaded, Unavailable

T = TypeVar("T")


class LongCalls:
    """Open calls of one method.

    Args:
        limit: most calls open at once.
        method: its name, for messages.
    """

    def __init__(self, limit: int, method: str) -> None:
        self._limit = limit
        self._method = method
        self._waiting: set[asyncio.Task[Any]] = set()
        self._count = 0
        self._is_closed = False

    @contextmanager
    def open(self) -> Iterator[None]:
        """Count one call.

        Raises:
            Overloaded: too many are open.
            Unavailable: the server is being stopped.
        """
        self._require_open()
        if self._count >= self._limit:
            raise Overloaded(f"the server has {self._count} calls of {self._method} open, which is its limit; end another one first")
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    def _require_open(self) -> None:
        if self._is_closed:
            raise Unavailable(f"the server is being stopped; call {self._method} again")

    async def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine, which is cancelled when the server stops.

        Raises:
            Unavailable: the server is being stopped.
        """
        task = asyncio.ensure_future(work)
        self._waiting.add(task)
        try:
            self._require_open()
            await asyncio.wait({task})
            if task.cancelled():
                self._require_open()
            return task.result()
        finally:
            self._waiting.discard(task)
            task.cancel()

    def close(self) -> None:
        """End every wait, and refuse further ones."""
        self._is_closed = True
        for task in self._waiting:
            task.cancel()
