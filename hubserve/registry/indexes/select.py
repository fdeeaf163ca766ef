"""Finds the version that a user means in the first index that has it."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from hubserve.errors import InvalidInput, ModuleNotFound
from hubserve.registry.configuration import nearest
from hubserve.registry.indexes.format import ModuleDocument, Release
from hubserve.registry.indexes.reader import Index
from hubserve.registry.names import find_version, folder_name, is_name, version_key

_REQUIREMENT = re.compile(r"\s*([\w-]+?)\s*((?:[<>=!~].*)?)", re.DOTALL)


class Requirement(NamedTuple):
    """What a user asks for.

    Attributes:
        name: of the module.
        versions: ``""``, or a range as PEP 440 writes it, such as ``>=1,<2``.
    """

    name: str
    versions: str

    @property
    def exact(self) -> str:
        """The version of ``NAME==VERSION``; "" for ranges."""
        version = self.versions[2:].strip() if self.versions.startswith("==") else ""
        return "" if any(each in version for each in ",*=") else version

    def allows(self, version: str) -> bool:
        """Return True if a version lies in the range, pre-releases included; every version does if there is no range."""
        from packaging.version import InvalidVersion

        try:
            return not self.versions or bool(_specifier(self).contains(version, prereleases=True))
        except InvalidVersion:
            return False

    def __str__(self) -> str:
        return self.name + self.versions


class Chosen(NamedTuple):
    """A version in an index.

    Attributes:
        where: its index.
        name: as the index writes it.
        release: which it is.
        document: everything that the index lists for the module.
    """

    where: Index
    name: str
    release: Release
    document: ModuleDocument


def parse_requirement(text: str) -> Requirement | None:
    """``NAME``, ``NAME==VERSION`` or ``NAME>=1,<2``; None for what has no such form.

    Raises:
        InvalidInput: the name is one, and what follows is no range of versions.
    """
    match = _REQUIREMENT.fullmatch(text)
    if not match or not is_name(match.group(1)):
        return None
    requirement = Requirement(match.group(1), match.group(2).strip())
    if not requirement.exact:
        _specifier(requirement)
    return requirement


def choose(requirement: Requirement, indexes: Sequence[Index]) -> Chosen:
    """The newest version that is meant in the first index that has one; later indexes are not asked then.

    An index that cannot be read is an error and is not passed over: else whoever can keep it from answering decides that another is asked.

    Raises:
        ModuleNotFound: no index has it; the message says where was looked, and what there is.
        HubError: an index cannot be read.
    """
    looked: list[str] = []
    for index in indexes:
        document = index.find(requirement.name)
        if document is None:
            looked.append(f"{index.shown} (has no '{requirement.name}'{nearest(requirement.name, list(index.names())).rstrip('?')})")
            continue
        release = best(document.versions, requirement)
        if release is not None:
            return Chosen(index, document.name, release, document)
        looked.append(f"{index.shown} ({_versions_text(document.versions)})")
    raise ModuleNotFound(
        f"no index has {requirement}. Looked in: {'; '.join(looked)}. Check the name with 'hub search', or add another index: "
        "hub index add URL_OR_FOLDER"
    )


def best(releases: Sequence[Release], requirement: Requirement) -> Release | None:
    """The newest that is meant: no yanked one and no pre-release unless it is asked for by its version, or there is nothing else."""
    by_version = {each.version: each for each in releases}
    if requirement.exact:
        found = find_version(requirement.exact, [*by_version])
        return by_version[found] if found else None
    usable = sorted((each.version for each in releases if not each.yanked), key=version_key)
    ordered = [each for each in usable if version_key(each)[0]]
    matching = list(_specifier(requirement).filter(ordered))
    if not matching and not requirement.versions:
        matching = usable  # versions that are none by PEP 440, or pre-releases alone
    return by_version[max(matching, key=version_key)] if matching else None


def holds(name: str, index: Index) -> bool:
    """Whether an index has a module of that name."""
    return folder_name(name) in map(folder_name, index.names())


def _specifier(requirement: Requirement):  # type: ignore[no-untyped-def] # packaging is imported lazily
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(requirement.versions)
    except InvalidSpecifier:
        raise InvalidInput(
            f"{requirement.versions[:60]!a} is no range of versions: write {requirement.name}==1.2.0, "
            f"or a range such as '{requirement.name}>=1,<2'."
        ) from None


def _versions_text(releases: Sequence[Release]) -> str:
    usable = [each.version for each in releases if not each.yanked]
    yanked = [each.version for each in releases if each.yanked]
    some = f"has {', '.join(usable[-10:])}" if usable else "has no version that may be used"
    return some + (f"; withdrawn: {', '.join(yanked[-5:])}" if yanked else "")
