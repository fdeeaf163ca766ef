"""Gives answers in the order of the questions."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class ResponseOrdering:
    """Holds back each answer until all that were asked for before are given, however those end."""

    def __init__(self) -> None:
        self._last: asyncio.Future[None] | None = None

    async def wait(self, answer: Awaitable[T]) -> T:
        """Wait for an answer and for its turn; who calls first comes first.

        Args:
            answer: what it raises is raised in its turn.
        """
        before, mine = self._last, asyncio.get_running_loop().create_future()
        self._last = mine
        try:
            try:
                return await answer
            finally:
                if before is not None and not before.done():
                    await asyncio.shield(before)
        finally:
            # who leaves early hands its place on: the next one still waits for those before it
            if before is None or before.done():
                mine.set_result(None)
            else:
                before.add_done_callback(lambda _: mine.set_result(None))
