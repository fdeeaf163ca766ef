"""Watch many deadlines without a timer for each.

Nearly all deadlines are never reached, so that a timer would be set and cancelled for nothing, several times a request. Here all watched
items are checked a few times a second.
"""

import asyncio
import logging
import time
from typing import Protocol

from hubserve.telemetry.request_record import RequestRecord

log = logging.getLogger("hubserve")


class Watched(Protocol):
    """An item with a deadline.

    Attributes:
        due: the deadline, on the clock of ``time.monotonic``; 0 for none.
    """

    due: float

    def on_timeout(self) -> None:
        """Handle that the deadline has passed; called again at the next check unless :attr:`due` changes or the item is discarded."""


class DeadlineMonitor:
    """Monitor of items, which calls :meth:`Watched.on_timeout` once their deadline has passed.

    Args:
        every_s: the interval of the checks, and so the most by which a call is late.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._items: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: Watched) -> None:
        """Watch an item."""
        self._items.add(item)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every_s, self._check)

    def discard(self, item: Watched) -> None:
        """Stop watching an item."""
        self._items.discard(item)

    def _check(self) -> None:
        now = time.monotonic()
        for item in [each for each in self._items if 0 < each.due <= now]:
            try:
                item.on_timeout()
            except Exception:  # must not keep the others from being checked
                record = getattr(item, "record", None)  # of the client's request, if the item is one
                about = {"request_id": record.identify()} if isinstance(record, RequestRecord) else {}
                log.exception("an unexpected error while handling a timeout", extra=about)
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._check) if self._items else None
