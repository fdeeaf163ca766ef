"""Count ended requests."""

from collections import Counter

from hubserve.telemetry.histogram import SECONDS, Histogram
from hubserve.telemetry.request_record import RequestRecord


class _Place:
    """Requests to one module over one protocol."""

    __slots__ = ("durations", "received_bytes", "sent_bytes")

    def __init__(self) -> None:
        self.durations = Histogram(SECONDS)
        self.received_bytes = 0
        self.sent_bytes = 0


class _Outcome:
    """Requests with equal labels; holds what each adds to, so that counting one is a single lookup."""

    __slots__ = ("count", "place")

    def __init__(self, place: _Place) -> None:
        self.count = 0
        self.place = place


class RequestCounts:
    """Counts of requests, by values that only the server chooses: names that clients invent make no series.

    Attributes:
        places: (module, protocol) to the seconds and the bytes of the bodies of its requests.
        streams: status to the number of streams of requests that have ended.
    """

    def __init__(self) -> None:
        self.places: dict[tuple[str, str], _Place] = {}
        self.streams: Counter[str] = Counter()
        #: the values of :meth:`requests`, and the name of the client's key; None for none
        self._outcomes: dict[tuple[str, str, str, int | str, str, str | None], _Outcome] = {}

    def add(self, record: RequestRecord) -> None:
        """Count one request that has ended."""
        key = record.access.key if record.access is not None else None
        labels = (record.module, record.version, record.protocol, record.status, record.error, None if key is None else key.name)
        outcome = self._outcomes.get(labels)
        if outcome is None:
            place = self.places.setdefault((record.module, record.protocol), _Place())
            outcome = self._outcomes[labels] = _Outcome(place)
        outcome.count += 1
        place = outcome.place
        place.durations.add(record.ended_at - record.started_at)
        place.received_bytes += record.received_bytes
        place.sent_bytes += record.sent_bytes

    def requests(self) -> list[tuple[tuple[str, str, str, int | str, str], int]]:
        """Return (module, version, protocol, status, error) and the number of requests of each."""
        counts: Counter[tuple[str, str, str, int | str, str]] = Counter()
        for labels, outcome in list(self._outcomes.items()):
            counts[labels[:5]] += outcome.count
        return list(counts.items())

    def by_key(self) -> list[tuple[tuple[str, str], int]]:
        """Return (name of the client's key, module) and the number of requests of each; none on a server without keys."""
        counts: Counter[tuple[str, str]] = Counter()
        for (module, *_, key), outcome in list(self._outcomes.items()):
            if key is not None:
                counts[key, module] += outcome.count
        return list(counts.items())

    def add_stream(self, record: RequestRecord) -> None:
        """Count one stream of requests that has ended."""
        self.streams[str(record.status)] += 1
