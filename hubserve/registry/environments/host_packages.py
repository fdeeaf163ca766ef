"""Whether the Python that runs hubserve has what a module needs."""

from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING

from hubserve.registry.environments.installed import find_installed
from hubserve.registry.environments.requirements import Requirements

if TYPE_CHECKING:
    from packaging.requirements import Requirement


def unmet(requirements: Requirements) -> list[str]:
    """The requirements that this Python does not meet, each with what it has instead: ``numpy<1.24 (has 2.4.6)``."""
    from packaging.requirements import Requirement

    found = [text for line in requirements.lines for text in _unmet(Requirement(line), ("",), set())]
    constraints = [Requirement(line) for line in requirements.constraints]
    return found + [text for each in constraints if find_installed(each.name) for text in _unmet(each, ("",), set())]


def _unmet(requirement: "Requirement", extras: Sequence[str], seen: set[tuple[str, str]]) -> list[str]:
    """Those of one requirement and of the extras that it asks for; what a package itself needs was seen to when it was installed."""
    from packaging.requirements import Requirement

    if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
        return []
    found = find_installed(requirement.name)
    if found is None:
        return [f"{requirement} (not there)"]
    if requirement.url or not requirement.specifier.contains(found.version, prereleases=True):
        other = f"{found.name} " if found.name != requirement.name else ""
        return [f"{requirement} (has {other}{found.version})"]
    missing = []
    for extra in requirement.extras:
        if (requirement.name, extra) in seen:
            continue
        seen.add((requirement.name, extra))
        for line in metadata.requires(found.name) or []:
            inner = Requirement(line)
            if inner.marker and "extra" in str(inner.marker):
                missing += _unmet(inner, (extra,), seen)
    return missing
