"""Release responses in the order of their requests."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class ResponseOrdering:
    """Order of responses: each is held back until all requests before it have ended, however they end."""

    def __init__(self) -> None:
        self._last: asyncio.Future[None] | None = None

    async def wait(self, answer: Awaitable[T]) -> T:
        """Wait for an answer and for all that were waited for before it.

        Args:
            answer: its exception, too, is raised in order.
        """
        previous, own = self._last, asyncio.get_running_loop().create_future()
        self._last = own
        try:
            try:
                return await answer
            finally:
                if previous is not None and not previous.done():
                    await asyncio.shield(previous)
        finally:
            # after a cancellation the next one still waits for those before this one
            if previous is None or previous.done():
                own.set_result(None)
            else:
                previous.add_done_callback(lambda _: own.set_result(None))
