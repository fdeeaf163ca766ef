"""Recorder of request times, with statistics of one window."""

from array import array
from typing import NamedTuple

from hubserve.bench.connection import Failure


class Counted(NamedTuple):
    """Results of one round.

    Attributes:
        seconds: the length of the counted window.
        answered: successful responses that arrived in it.
        latencies_s: of the successful responses, ascending. Closed loop: from sending, for responses in the window. Open loop: from the
            scheduled time of the request, for times in the window.
        failures: status -> how many, and the text of the first.
        client_share: the share of one core that this process used.
    """

    seconds: float
    answered: int
    latencies_s: list[float]
    failures: dict[str, tuple[int, str]]
    client_share: float


def percentile(ascending: list[float], percent: float) -> float:
    """Return the smallest value that at least ``percent`` of all values do not exceed.

    Args:
        ascending: at least one value, in order.
        percent: more than 0, up to 100.
    """
    rank = -(-len(ascending) * percent // 100)
    return ascending[max(0, int(rank) - 1)]


class Recorder:
    """Record of every request of a round, including warm-up."""

    def __init__(self) -> None:
        self.intended = array("d")
        self.ended = array("d")
        self.failed: list[tuple[float, float, str]] = []
        self.texts: dict[str, str] = {}

    def success(self, intended: float, ended: float) -> None:
        """Record a successful response."""
        self.intended.append(intended)
        self.ended.append(ended)

    def failure(self, intended: float, ended: float, failure: Failure) -> None:
        """Record a failed request."""
        self.failed.append((intended, ended, failure.status))
        self.texts.setdefault(failure.status, failure.text)

    def count(self, start: float, end: float, client_share: float, *, by_intention: bool) -> Counted:
        """Return the results of the window."""
        pairs = list(zip(self.intended, self.ended, strict=True))
        latencies = sorted(ended - intended for intended, ended in pairs if start <= (intended if by_intention else ended) < end)
        answered = sum(start <= ended < end for ended in self.ended)
        counts: dict[str, int] = {}
        for intended, ended, status in self.failed:
            if start <= (intended if by_intention else ended) < end:
                counts[status] = counts.get(status, 0) + 1
        failures = {status: (count, self.texts[status]) for status, count in counts.items()}
        return Counted(end - start, answered, latencies, failures, client_share)
