"""Check the metrics of modules that an instance publishes, before they are used; see :mod:`hubserve.gateway.instances.frame_checks`."""

from itertools import pairwise
from math import inf
from typing import Annotated, Literal

from msgspec import Meta, Struct

from hubserve.wire.frames import WireError
from hubserve.wire.model_metrics import (
    LABEL,
    MAX_BUCKETS,
    MAX_DESCRIPTION_CHARACTERS,
    MAX_FAMILIES,
    MAX_LABEL_CHARACTERS,
    MAX_LABELS,
    MAX_SERIES,
    NAME,
    is_label,
    is_name,
    is_plain,
)

_Count = Annotated[int, Meta(ge=0)]
_LabelName = Annotated[str, Meta(pattern=LABEL)]
_LabelValue = Annotated[str, Meta(max_length=MAX_LABEL_CHARACTERS)]


class _Series(Struct):
    labels: Annotated[dict[_LabelName, _LabelValue], Meta(max_length=MAX_LABELS)]
    value: float
    was_set: bool = False
    buckets: Annotated[list[float], Meta(max_length=MAX_BUCKETS)] = []
    counts: list[_Count] = []


class _Family(Struct):
    name: Annotated[str, Meta(pattern=NAME)]
    description: Annotated[str, Meta(max_length=MAX_DESCRIPTION_CHARACTERS)]
    kind: Literal["counter", "gauge", "histogram"]
    series: Annotated[list[_Series], Meta(max_length=MAX_SERIES)]


class Metrics(Struct):
    """Form of the frame ``metrics``."""

    families: Annotated[list[_Family], Meta(max_length=MAX_FAMILIES)]


def check_families(frame: Metrics) -> None:
    """Check the families of a frame that has its form.

    Raises:
        WireError: one of them cannot be published.
    """
    for family in frame.families:
        _check_family(family)


def _check_family(family: _Family) -> None:
    is_histogram = family.kind == "histogram"
    for series in family.series:
        bounds, texts = series.buckets, "".join((family.description, *series.labels.values()))
        if (
            not is_name(family.name)
            or not all(is_label(name, is_histogram) for name in series.labels)
            or not is_plain(texts)
            or len(series.counts) != (len(bounds) + 1 if is_histogram else 0)
            or not all(below < above for below, above in pairwise((-inf, *bounds, inf)))
        ):
            raise WireError(f"a frame describes a series of the metric {family.name!r:.100} that cannot be published")
