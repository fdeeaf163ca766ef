"""A model's own metrics, which the server publishes."""

import bisect
import os
import sys
import threading
from enum import IntEnum
from typing import Any, Dict, List, Optional, Sequence

from hubserve.kinds.raw_requests import current_host
from hubserve.kinds.triton.api.errors import TritonModelException
from hubserve.kinds.triton.api.texts import text_of
from hubserve.wire import model_metrics as limits


class MetricKind(IntEnum):
    """Kinds of metrics."""

    COUNTER = 0
    GAUGE = 1
    HISTOGRAM = 2


class Registry:
    """The families of this process, and what has changed in them since it was published.

    Attributes:
        families: by name.
        lock: held while values are changed or read.
    """

    def __init__(self) -> None:
        self.families: Dict[str, MetricFamily] = {}
        self.lock = threading.Lock()
        self._changed: Dict[int, Metric] = {}
        self._series = 0
        self._numbers = 0
        self._has_warned = False

    def admit(self, metric: "Metric") -> bool:
        """Return True if a further series can be published; the limits are those of the gateway."""
        self._series += 1
        self._numbers += metric.numbers
        if self._series <= limits.MAX_SERIES and self._numbers <= limits.MAX_NUMBERS:
            return True
        if not self._has_warned:
            self._has_warned = True
            sys.stderr.write(
                f"this model has more than {limits.MAX_SERIES} series of metrics, or {limits.MAX_NUMBERS} numbers in them; "
                "further ones are not published. Use labels with few values\n"
            )
        return False

    def note(self, metric: "Metric") -> None:
        """Note that a series has changed; :attr:`lock` is held."""
        self._changed[id(metric)] = metric

    def changes(self) -> List[Dict[str, Any]]:
        """Return the series that have changed since the last call, by family, as the frame ``metrics`` has them."""
        with self.lock:
            changed, self._changed = list(self._changed.values()), {}
            found: Dict[str, Dict[str, Any]] = {}
            for metric in changed:
                family = metric.family
                described: Dict[str, Any] = {
                    "name": family.name,
                    "description": family.description,
                    "kind": _KINDS[family.kind],
                    "series": [],
                }
                found.setdefault(family.name, described)["series"].append(metric.to_json())
        return list(found.values())

    def reset_lock(self) -> None:
        """Replace the lock in a forked process, where a thread that held it will never release it."""
        self.lock = threading.Lock()


_registry = Registry()
os.register_at_fork(after_in_child=_registry.reset_lock)


class Metric:
    """One series of a family; made by :meth:`MetricFamily.Metric`."""

    def __init__(self, family: "MetricFamily", labels: Dict[str, str], buckets: Sequence[float]) -> None:
        self.family = family
        self.labels = labels
        self._kind = family.kind
        self._buckets = list(buckets)
        self._counts = [0] * (len(self._buckets) + 1)
        self._value = 0.0
        self._was_set = False
        self._is_published = _registry.admit(self)
        self._changed()

    @property
    def numbers(self) -> int:
        """Number of numbers that are published for it."""
        return len(self._counts) + 2 if self._kind == MetricKind.HISTOGRAM else 1

    def value(self) -> float:
        """Return the value in this instance.

        Raises:
            TritonModelException: it is a histogram's.
        """
        self._require("value", MetricFamily.COUNTER, MetricFamily.GAUGE)
        return self._value

    def increment(self, value: float) -> None:
        """Add to the value.

        Raises:
            TritonModelException: a counter cannot take a negative value, or it is a histogram's.
        """
        self._require("increment", MetricFamily.COUNTER, MetricFamily.GAUGE)
        number = float(value)
        if self._kind == MetricFamily.COUNTER and not number >= 0:
            raise TritonModelException(f"a counter only rises; {value} cannot be added to it. Use a GAUGE")
        with _registry.lock:
            self._value += number
            self._changed()

    def set(self, value: float) -> None:
        """Set the value.

        Raises:
            TritonModelException: it is not a gauge's.
        """
        self._require("set", MetricFamily.GAUGE)
        number = float(value)
        with _registry.lock:
            self._value, self._was_set = number, True
            self._changed()

    def observe(self, value: float) -> None:
        """Count a value in its bucket.

        Raises:
            TritonModelException: it is not a histogram's.
        """
        self._require("observe", MetricFamily.HISTOGRAM)
        number = float(value)
        with _registry.lock:
            self._counts[bisect.bisect_left(self._buckets, number)] += 1
            self._value += number
            self._changed()

    def to_json(self) -> Dict[str, Any]:
        """Return its labels and values, as the frame ``metrics`` has them."""
        described: Dict[str, Any] = {"labels": self.labels, "value": self._value}
        if self._was_set:
            described["was_set"] = True
        if self._kind == MetricFamily.HISTOGRAM:
            described["buckets"], described["counts"] = self._buckets, list(self._counts)
        return described

    def _changed(self) -> None:
        if self._is_published:
            _registry.note(self)

    def _require(self, what: str, *kinds: int) -> None:
        if self._kind not in kinds:
            raise TritonModelException(f"a {_KINDS[self._kind]} has no {what}()")


class MetricFamily:
    """Metrics of one name.

    Args:
        name: unique; the same name gives the same family.
        description: for people to read.
        kind: COUNTER, GAUGE or HISTOGRAM.
    Raises:
        TritonModelException: the name cannot be a metric's or is one of the server's, a family of that name has another kind, the kind is
            unknown, or there are too many families.
    """

    COUNTER, GAUGE, HISTOGRAM = MetricKind

    def __init__(self, name: str, description: str, kind: int) -> None:
        name, description = text_of(name), text_of(description)
        if not limits.is_name(name):
            raise TritonModelException(
                f"'{name}' cannot be the name of a metric family: names have letters, digits, '_' and ':', up to 200, and begin with none "
                f"of {', '.join(limits.RESERVED)}. Choose another"
            )
        known = _registry.families.setdefault(name, self)
        if kind not in _KINDS or (known is not self and known.kind != kind):
            if known is self:
                del _registry.families[name]
            raise TritonModelException(
                f"the metric family '{name}' cannot be of kind {kind!r}: {'it has another' if kind in _KINDS else 'the kind is unknown'}"
            )
        if len(_registry.families) > limits.MAX_FAMILIES:
            del _registry.families[name]
            raise TritonModelException(f"a model can have {limits.MAX_FAMILIES} metric families. Use labels instead of further ones")
        self.name = name
        self.description: str = limits.plain(description)[: limits.MAX_DESCRIPTION_CHARACTERS] if known is self else known.description
        self.kind: int = kind
        self._metrics: List[Metric] = known._metrics if known is not self else []
        host = current_host()
        if host:
            host.publish(_registry.changes)

    def Metric(self, labels: Optional[Dict[str, str]] = None, buckets: Optional[Sequence[float]] = None) -> Metric:  # noqa: N802 - as models name it
        """Return the series with these labels.

        Args:
            labels: of the series.
            buckets: a histogram's upper bounds, ascending.
        Raises:
            TritonModelException: a histogram's buckets are missing or do not ascend, or a label cannot be published.
        """
        bounds = [float(each) for each in buckets or ()]
        named = {text_of(name): limits.plain(text_of(value)) for name, value in (labels or {}).items()}
        is_histogram = self.kind == self.HISTOGRAM
        if is_histogram and (not bounds or sorted(set(bounds)) != bounds or not all(abs(each) < float("inf") for each in bounds)):
            raise TritonModelException("a histogram needs buckets=[...] that ascend")
        if len(bounds) > limits.MAX_BUCKETS:
            raise TritonModelException(f"a histogram can have {limits.MAX_BUCKETS} buckets, got {len(bounds)}")
        wrong = [name for name in named if not limits.is_label(name, is_histogram)]
        if wrong:
            raise TritonModelException(f"'{wrong[0]}' cannot be the name of a label: names have letters, digits and '_', up to 100")
        if len(named) > limits.MAX_LABELS or any(len(value) > limits.MAX_LABEL_CHARACTERS for value in named.values()):
            raise TritonModelException(
                f"a metric can have {limits.MAX_LABELS} labels, with values of up to {limits.MAX_LABEL_CHARACTERS} characters. Use fewer"
            )
        with _registry.lock:
            for metric in self._metrics:
                if metric.labels == named:
                    return metric
            metric = Metric(self, named, bounds)
            self._metrics.append(metric)
        return metric


_KINDS: Dict[Any, str] = {MetricFamily.COUNTER: "counter", MetricFamily.GAUGE: "gauge", MetricFamily.HISTOGRAM: "histogram"}
