"""Families of metrics that modules publish themselves, such as models of Triton's Python backend."""

import asyncio
import logging
from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric

from hubserve.gateway.dataplane import ServedModule
from hubserve.gateway.instances.published_metrics import HISTOGRAM, Labels, Point, merged

log = logging.getLogger("hubserve")

#: an instance that computes in one long call of C code answers later; its values of a second ago are shown then
_LONGEST_WAIT_S = 0.25


async def refresh(modules: Iterable[ServedModule]) -> None:
    """Ask all instances for the newest values of their modules' own metrics, and wait a moment for them."""
    instances = [each for module in modules for each in module.pool.metrics.live() if not each.is_asked]
    if instances:
        await asyncio.wait({each.ask() for each in instances}, timeout=_LONGEST_WAIT_S)


class ModelFamilies:
    """Merge of what modules publish: series with equal names and labels are one."""

    def __init__(self) -> None:
        self._refused: set[tuple[str, str]] = set()  # modules and families that a line of the log was about

    def families(self, modules: Iterable[ServedModule]) -> Iterator[Metric]:
        """Yield the families of some modules."""
        first: dict[str, Point] = {}
        taken: set[str] = set()
        series: dict[str, dict[Labels, list[Point]]] = {}
        for module in modules:
            for (name, labels), point in module.pool.metrics.points():
                if name not in first and not taken.isdisjoint(_sample_names(name, point.kind)):
                    self._refuse(module, name, "another one has samples of that name")
                elif name in first and first[name].kind != point.kind:
                    self._refuse(module, name, f"another module has a {first[name].kind} of that name")
                else:
                    first.setdefault(name, point)
                    taken.update(_sample_names(name, point.kind))
                    series.setdefault(name, {}).setdefault(labels, []).append(point)
        for name, points in series.items():
            yield _family(name, first[name], points)

    def _refuse(self, module: ServedModule, family: str, why: str) -> None:
        key = (module.name, family)
        if key not in self._refused:
            self._refused.add(key)
            log.warning("module '%s': its metric '%s' is not published, because %s. Choose another name", *key, why)


def _sample_names(name: str, kind: str) -> set[str]:
    return {f"{name}_bucket", f"{name}_sum", f"{name}_count", name} if kind == HISTOGRAM else {name}


def _family(name: str, first: Point, series: dict[Labels, list[Point]]) -> Metric:
    family = Metric(name, first.description, first.kind)
    for labels, points in series.items():
        named, point = dict(labels), merged(points)
        if point.kind != HISTOGRAM:
            family.add_sample(name, named, point.value)
            continue
        count = 0
        for bound, own in zip((*map(repr, point.buckets), "+Inf"), point.counts, strict=True):
            count += own
            family.add_sample(f"{name}_bucket", {**named, "le": bound}, count)
        family.add_sample(f"{name}_sum", named, point.value)
        family.add_sample(f"{name}_count", named, count)
    return family
