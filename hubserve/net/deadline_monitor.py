"""Ends what takes too long, without a timer for each.

Nearly everything is done long before its time is up, so that a timer would be set and cancelled for nothing, several times a request. Here
everything that may become due is looked at a few times a second.
"""

import asyncio
import logging
import time
from typing import Protocol

log = logging.getLogger("hubserve")


class Watched(Protocol):
    """What can be looked after.

    Attributes:
        due: when, on the clock of ``time.monotonic``; 0 for not now.
    """

    due: float

    def on_timeout(self) -> None:
        """Its time is up; it is told again at the next look unless it changes :attr:`due` or is taken out."""


class DeadlineMonitor:
    """Looks after things.

    Args:
        every_s: how often; they are told at most so much too late.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._items: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: Watched) -> None:
        """Look after it from now on."""
        self._items.add(item)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every_s, self._look)

    def discard(self, item: Watched) -> None:
        """Look after it no more."""
        self._items.discard(item)

    def _look(self) -> None:
        now = time.monotonic()
        for item in [each for each in self._items if 0 < each.due <= now]:
            try:
                item.on_timeout()
            except Exception:  # the others are to be looked after all the same
                log.exception("an unexpected error while ending what took too long")
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._look) if self._items else None
