"""A model's own metrics. They exist in the model's process only; the server does not publish them."""

import bisect
import threading
from enum import IntEnum
from typing import Any, Dict, List, Optional, Sequence

from hubserve.kinds.triton.api.errors import TritonModelException
from hubserve.kinds.triton.api.texts import text_of

_families: Dict[str, "MetricFamily"] = {}


class MetricKind(IntEnum):
    """Kinds of metrics."""

    COUNTER = 0
    GAUGE = 1
    HISTOGRAM = 2


class Metric:
    """One series of a family; made by :meth:`MetricFamily.Metric`."""

    def __init__(self, kind: int, labels: Dict[str, str], buckets: Sequence[float]) -> None:
        self._kind = kind
        self.labels = labels
        self._buckets = list(buckets)
        self._counts = [0] * (len(self._buckets) + 1)
        self._value = 0.0
        self._lock = threading.Lock()

    def value(self) -> float:
        """Return the current value.

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
        if value < 0 and self._kind == MetricFamily.COUNTER:
            raise TritonModelException(f"a counter only rises; {value} cannot be added to it. Use a GAUGE")
        with self._lock:
            self._value += value

    def set(self, value: float) -> None:
        """Set the value.

        Raises:
            TritonModelException: it is not a gauge's.
        """
        self._require("set", MetricFamily.GAUGE)
        self._value = float(value)

    def observe(self, value: float) -> None:
        """Count a value in its bucket.

        Raises:
            TritonModelException: it is not a histogram's.
        """
        self._require("observe", MetricFamily.HISTOGRAM)
        with self._lock:
            self._counts[bisect.bisect_left(self._buckets, value)] += 1
            self._value += value

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
        TritonModelException: a family of that name has another kind, or the kind is unknown.
    """

    COUNTER, GAUGE, HISTOGRAM = MetricKind

    def __init__(self, name: str, description: str, kind: int) -> None:
        name, description = text_of(name), text_of(description)
        known = _families.setdefault(name, self)
        if kind not in _KINDS or (known is not self and known.kind != kind):
            raise TritonModelException(
                f"the metric family '{name}' cannot be of kind {kind!r}: {'it has another' if kind in _KINDS else 'the kind is unknown'}"
            )
        self.name = name
        self.description = description
        self.kind: int = kind
        self._metrics: List[Metric] = known._metrics if known is not self else []

    def Metric(self, labels: Optional[Dict[str, str]] = None, buckets: Optional[Sequence[float]] = None) -> Metric:  # noqa: N802 - as models name it
        """Return the series with these labels.

        Args:
            labels: of the series.
            buckets: a histogram's upper bounds, ascending.
        Raises:
            TritonModelException: a histogram's buckets are missing or do not ascend.
        """
        bounds = list(buckets or ())
        named = {text_of(name): text_of(value) for name, value in (labels or {}).items()}
        if self.kind == self.HISTOGRAM and (not bounds or sorted(set(bounds)) != bounds):
            raise TritonModelException("a histogram needs buckets=[...] that ascend")
        for metric in self._metrics:
            if metric.labels == named:
                return metric
        metric = Metric(self.kind, named, bounds)
        self._metrics.append(metric)
        return metric


_KINDS: Dict[Any, str] = {MetricFamily.COUNTER: "counter", MetricFamily.GAUGE: "gauge", MetricFamily.HISTOGRAM: "histogram"}
