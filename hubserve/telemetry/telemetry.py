"""Pass the records of ended requests to those that count, log or trace them."""

import logging
import time
from collections import Counter
from collections.abc import Callable

from hubserve.telemetry.request_record import RequestRecord
from hubserve.telemetry.traces import Traces

log = logging.getLogger("hubserve")

Listener = Callable[[RequestRecord], None]


class Telemetry:
    """Creation of records, and listeners to ended requests.

    Attributes:
        end_listeners: called with each record once its request has ended; they must be quick, and what they raise is logged.
        stream_listeners: called in the same way with the record of a stream of requests, each of which has its own record.
        open_streams: number of those.
        refused: reason to the number of requests that were refused before they had a record.
        wants_marks: whether requests collect the times of their stages.
        handshakes: number of TLS handshakes by their result: ``ok``, ``plain`` for clients that do not encrypt, ``certificate`` for those
            without a trusted certificate, ``timeout``, ``rate`` for those that waited until then because their address used up its share
            of time, ``pending`` for those that newer ones of their address displaced, ``protocol``, ``lost``, ``limit``, ``evicted``.
        wants_ids: whether every request has an id, and its answer names it, because a log of requests has it.
        traces: chooses the requests that are traced; None if none are.
        span_counts: returns the number of spans by their fate.
    """

    def __init__(self) -> None:
        self.end_listeners: list[Listener] = []
        self.stream_listeners: list[Listener] = []
        self.open_streams = 0
        self.refused: Counter[str] = Counter()
        self.wants_marks = False
        self.handshakes: Counter[str] = Counter()
        self.wants_ids = False
        self.traces: Traces | None = None
        self.span_counts: Callable[[], dict[str, int]] = dict

    def begin(self) -> RequestRecord:
        """Return the record of a request whose head has come."""
        record = RequestRecord(time.monotonic())
        if self.wants_marks:
            record.marks = {}
        if self.wants_ids:
            record.identify()
        return record

    def begin_stream(self, record: RequestRecord) -> None:
        """Note that a record is of a stream of requests; to be ended by :meth:`end_stream`."""
        record.method = "STREAM"
        self.open_streams += 1

    def begin_within(self, stream: RequestRecord, number: int) -> RequestRecord:
        """Return the record of a request whose message has come within a stream; see :meth:`RequestRecord.within`."""
        record = stream.within(time.monotonic(), number)
        if self.traces is not None:
            self.traces.begin_within(record, stream)
        if self.wants_marks:
            record.marks = {}
        return record

    def end(self, record: RequestRecord) -> None:
        """Pass on the record of a request that has ended."""
        self._pass_on(record, self.end_listeners)

    def end_stream(self, record: RequestRecord) -> None:
        """Pass on the record of a stream that has ended."""
        self.open_streams -= 1
        self._pass_on(record, self.stream_listeners)

    def _pass_on(self, record: RequestRecord, listeners: list[Listener]) -> None:
        record.ended_at = time.monotonic()
        if record.trace is not None and self.traces is not None:
            listeners = [*listeners, self.traces.end]
        for listener in listeners:
            try:
                listener(record)
            except Exception:
                log.exception("an unexpected error while recording a request", extra={"request_id": record.identify()})
