"""Combine a module's requirements with a profile's packages."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hubserve.registry.environments.module_requirements import Needs
from hubserve.registry.environments.profile import Profile
from hubserve.registry.environments.requirements import Requirements

if TYPE_CHECKING:
    from packaging.requirements import Requirement


def merge_candidates(profile: Profile, needs: Needs, names: Sequence[str]) -> Iterator[Needs]:
    """Yield combinations to resolve, the most complete first; later ones are for conflicting packages.

    First all packages of the profile with the module's lines, which win if both name a package; then only the profile's packages that the
    module's code imports; then these without the versions that the profile recommends for other packages.

    Args:
        profile: the profile.
        needs: the module's.
        names: import names that its code requires.
    """
    own, base = needs.requirements, profile.wanted
    with_base = needs._replace(base=profile.base._replace(extended=bool(own.lines)))
    if not own.lines:
        yield with_base._replace(requirements=base._replace(constraints=(*base.constraints, *own.constraints)))
        return
    yield with_base._replace(requirements=_merged(base.lines, base.constraints, base, own))
    brought = {each.name for each in _parsed(own.lines)}
    imported = {package for name in names for package in profile.packages_of(name)} - brought
    lines = [line for line, parsed in zip(base.lines, _parsed(base.lines), strict=True) if parsed.name in imported]
    yield with_base._replace(requirements=_merged(lines, base.constraints, base, own))
    if base.constraints:
        yield with_base._replace(requirements=_merged(lines, (), base, own))


def is_unfit(profile: Profile, lines: Sequence[str]) -> bool:
    """Return True if lines pin a version that does not run with a profile."""
    refused = {each.name: each for each in _parsed(profile.unfit)}
    pinned = ((each.name, version) for each in _parsed(lines) if (version := _pinned(each)))
    return any(name in refused and refused[name].specifier.contains(version, prereleases=True) for name, version in pinned)


def is_pinned(package: str, lines: Sequence[str]) -> bool:
    """Return True if lines pin the version of a package."""
    return any(each.name == package and _pinned(each) for each in _parsed(lines))


def names_in(lines: Sequence[str]) -> set[str]:
    """Return the normalised names of the packages that lines name."""
    return {each.name for each in _parsed(lines)}


def _merged(lines: Sequence[str], constraints: Sequence[str], base: Requirements, own: Requirements) -> Requirements:
    return Requirements(
        (*_agreeing(lines, own.lines), *own.lines),
        (*_agreeing(constraints, own.lines), *own.constraints),
        tuple(dict.fromkeys((*base.options, *own.options))),
        tuple(dict.fromkeys((*base.links, *own.links))),
    )


def _agreeing(lines: Sequence[str], own: Sequence[str]) -> Iterator[str]:
    """Yield the lines except those that pin a version which the module's own lines exclude."""
    by_name: dict[str, list[Requirement]] = {}
    for each in _parsed(own):
        by_name.setdefault(each.name, []).append(each)
    for line, parsed in zip(lines, _parsed(lines), strict=True):
        pinned = _pinned(parsed)
        refused = any(
            each.url or (pinned and not each.specifier.contains(pinned, prereleases=True)) for each in by_name.get(parsed.name, [])
        )
        if not refused:
            yield line


def _pinned(requirement: "Requirement") -> str:
    return next((each.version for each in requirement.specifier if each.operator == "=="), "")


def _parsed(lines: Sequence[str]) -> list["Requirement"]:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found = [Requirement(line) for line in lines]
    for each in found:
        each.name = canonicalize_name(each.name)
    return found
