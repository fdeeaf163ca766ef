"""Pass the records of ended requests to those that count, log or trace them."""

import logging
import time
from collections import Counter
from collections.abc import Callable

from hubserve.telemetry.request_record import RequestRecord

log = logging.getLogger("hubserve")

Listener = Callable[[RequestRecord], None]


class Telemetry:
    """Creation of records, and listeners to ended requests.

    Attributes:
        end_listeners: called with each record once its request has ended; they must be quick, and what they raise is logged.
        refused: reason to the number of requests that were refused before they had a record.
        wants_marks: whether requests collect the times of their stages.
        handshakes: number of TLS handshakes by their result: ``ok``, ``plain`` for clients that do not encrypt, ``certificate`` for those
            without a trusted certificate, ``timeout``, ``protocol``, ``lost``, ``limit``, ``evicted``.
        wants_ids: whether every request has an id, and its answer names it, because a log of requests has it.
    """

    def __init__(self) -> None:
        self.end_listeners: list[Listener] = []
        self.refused: Counter[str] = Counter()
        self.wants_marks = False
        self.handshakes: Counter[str] = Counter()
        self.wants_ids = False

    def begin(self) -> RequestRecord:
        """Return the record of a request whose head has come."""
        record = RequestRecord(time.monotonic())
        if self.wants_marks:
            record.marks = {}
        if self.wants_ids:
            record.identify()
        return record

    def end(self, record: RequestRecord) -> None:
        """Pass on the record of a request that has ended."""
        record.ended_at = time.monotonic()
        for listener in self.end_listeners:
            try:
                listener(record)
            except Exception:
                log.exception("an unexpected error while recording a request", extra={"request_id": record.identify()})
