"""Count ended requests."""

from collections import Counter

from hubserve.telemetry.histogram import SECONDS, Histogram
from hubserve.telemetry.request_record import RequestRecord


class RequestCounts:
    """Counts of requests, by values that only the server chooses: names that clients invent make no series.

    Attributes:
        requests: (module, version, protocol, status, error) to the number of requests.
        durations: (module, protocol) to the seconds of its requests.
        by_key: (name of the client's key, module) to the number of requests; empty on a server without keys.
        received_bytes, sent_bytes: (module, protocol) to the bytes of bodies.
        streams: status to the number of streams of requests that have ended.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, str, str, str], int] = {}
        self.by_key: Counter[tuple[str, str]] = Counter()
        self.durations: dict[tuple[str, str], Histogram] = {}
        self.received_bytes: Counter[tuple[str, str]] = Counter()
        self.sent_bytes: Counter[tuple[str, str]] = Counter()
        self.streams: Counter[str] = Counter()

    def add(self, record: RequestRecord) -> None:
        """Count one request that has ended."""
        key = (record.module, record.version, record.protocol, str(record.status), record.error)
        self.requests[key] = self.requests.get(key, 0) + 1
        if record.access is not None and record.access.key is not None:
            self.by_key[record.access.name, record.module] += 1
        place = (record.module, record.protocol)
        durations = self.durations.get(place)
        if durations is None:
            durations = self.durations[place] = Histogram(SECONDS)
        durations.add(record.ended_at - record.started_at)
        self.received_bytes[place] += record.received_bytes
        self.sent_bytes[place] += record.sent_bytes

    def add_stream(self, record: RequestRecord) -> None:
        """Count one stream of requests that has ended."""
        self.streams[str(record.status)] += 1
