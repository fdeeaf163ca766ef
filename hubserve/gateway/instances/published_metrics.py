"""Metrics that a module publishes itself: those of its instances, and what its ended instances have counted."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from hubserve.wire.frames import WireError
from hubserve.wire.model_metrics import MAX_FAMILIES, MAX_NUMBERS, MAX_SERIES

log = logging.getLogger("hubserve")

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
#: names and values, sorted
Labels = tuple[tuple[str, str], ...]
#: name of the family, and labels
Key = tuple[str, Labels]


class Point(NamedTuple):
    """The state of one series.

    Attributes:
        kind: of its family: ``counter``, ``gauge`` or ``histogram``.
        description: of its family.
        value: of a counter or gauge; the sum of a histogram's values.
        buckets: a histogram's upper bounds.
        counts: values in each of its buckets, and above the last one.
        was_set: whether a gauge was set, rather than incremented only.
        at: when it came, on the clock of ``time.monotonic``.
    """

    kind: str
    description: str
    value: float
    buckets: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    was_set: bool = False
    at: float = 0.0


def merged(points: Iterable[Point]) -> Point:
    """Return the state of one series of several instances.

    Counters and histograms are summed; a histogram with other buckets than the first is left out. Of gauges that were set, the one that was
    set last counts; those that were only incremented are summed.

    Args:
        points: of one kind; at least one.
    """
    first, *others = points
    if first.kind == GAUGE and (were_set := [each for each in (first, *others) if each.was_set]):
        return max(were_set, key=lambda each: each.at)
    for each in others:
        if each.buckets == first.buckets:
            counts = tuple(one + other for one, other in zip(first.counts, each.counts, strict=True))
            first = first._replace(value=first.value + each.value, counts=counts)
    return first


class InstanceMetrics:
    """The series that one instance has published.

    Args:
        ask: asks the instance to publish what has changed.

    Attributes:
        series: by family and labels.
        has_ended: whether the instance has ended.
        on_end: called when it has.
    """

    def __init__(self, ask: Callable[[], None]) -> None:
        self.series: dict[Key, Point] = {}
        self.has_ended = False
        self.on_end: Callable[[InstanceMetrics], None] = _ignore
        self._ask = ask
        self._kinds: dict[str, str] = {}
        self._numbers = 0
        self._asked: asyncio.Future[None] | None = None

    def apply(self, families: list[dict[str, Any]]) -> None:
        """Take the series of a frame, whose fields are checked.

        Raises:
            WireError: they contradict earlier ones, or are too many.
        """
        now = time.monotonic()
        for family in families:
            name, kind = family["name"], family["kind"]
            if self._kinds.setdefault(name, kind) != kind:
                raise WireError(f"a frame changes the kind of the metric '{name}'")
            for each in family["series"]:
                buckets, counts = tuple(each.get("buckets", ())), tuple(each.get("counts", ()))
                point = Point(kind, family["description"], float(each["value"]), buckets, counts, each.get("was_set", False), now)
                self._put((name, tuple(sorted(each["labels"].items()))), point)
        if len(self.series) > MAX_SERIES or self._numbers > MAX_NUMBERS or len(self._kinds) > MAX_FAMILIES:
            raise WireError("an instance publishes too many metrics")
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(None)
        self._asked = None

    def _put(self, key: Key, point: Point) -> None:
        known = self.series.get(key)
        if known is None:
            self._numbers += len(point.counts) + 2 if point.counts else 1
            lowest = 0.0
        else:
            lowest = known.value
            if known.buckets != point.buckets or any(new < old for new, old in zip(point.counts, known.counts, strict=True)):
                raise WireError(f"a frame has a smaller count of the metric '{key[0]}' than one before it")
        if point.kind == COUNTER and not point.value >= lowest:
            raise WireError(f"a frame has a smaller count of the metric '{key[0]}' than one before it")
        self.series[key] = point

    def ask(self) -> "asyncio.Future[None]":
        """Ask the instance for what has changed; returns a future that ends when it has come, or the instance has ended."""
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_future()
            self._ask()
        return self._asked

    @property
    def is_asked(self) -> bool:
        """True if it was asked and has not answered."""
        return self._asked is not None

    def end(self) -> None:
        """Note that the instance has ended."""
        if self.has_ended:
            return
        self.has_ended = True
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(None)
        self.on_end(self)


class ModuleMetrics:
    """The series that a module publishes. Read by any thread, changed by that of the event loop only.

    Args:
        module: its name, for the log.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._live: list[InstanceMetrics] = []
        self._ended: dict[Key, Point] = {}
        self._lock = threading.Lock()
        self._has_warned = False

    def add(self, instance: InstanceMetrics) -> None:
        """Add the metrics of a further instance."""
        with self._lock:
            self._live.append(instance)
        instance.on_end = self._end
        if instance.has_ended:
            self._end(instance)

    def _end(self, instance: InstanceMetrics) -> None:
        """Keep what an ended instance has counted; its gauges are gone."""
        with self._lock:
            self._live.remove(instance)
            for key, point in instance.series.items():
                if point.kind != GAUGE and self._has_room(key):
                    known = self._ended.get(key)
                    self._ended[key] = point if known is None or known.kind != point.kind else merged((known, point))

    def _has_room(self, key: Key) -> bool:
        if key in self._ended or len(self._ended) < MAX_SERIES:
            return True
        if not self._has_warned:
            self._has_warned = True
            text = "module '%s': further metrics are not kept over restarts, as it has had %d series"
            log.warning(text, self._module, MAX_SERIES, extra={"module_name": self._module})
        return False

    def live(self) -> list[InstanceMetrics]:
        """Return the metrics of the instances that run."""
        with self._lock:
            return list(self._live)

    def points(self) -> list[tuple[Key, Point]]:
        """Return the states of all series: those of ended instances, then those of each that runs."""
        with self._lock:
            return [*self._ended.items(), *(pair for instance in self._live for pair in list(instance.series.items()))]


def _ignore(_: InstanceMetrics) -> None:
    pass
