"""Choose the version that a user's requirement means, from the first index that has one."""

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
    """A module's name and a range of versions.

    Attributes:
        name: of the module.
        versions: ``""``, or a range as in PEP 440, such as ``>=1,<2``.
    """

    name: str
    versions: str

    @property
    def exact(self) -> str:
        """The version of ``NAME==VERSION``; "" for ranges."""
        version = self.versions[2:].strip() if self.versions.startswith("==") else ""
        return "" if any(each in version for each in ",*=") else version

    def allows(self, version: str) -> bool:
        """Return True if a version, including a pre-release, is in the range; without a range, every version is."""
        from packaging.version import InvalidVersion

        try:
            return not self.versions or bool(_specifier(self).contains(version, prereleases=True))
        except InvalidVersion:
            return False

    def __str__(self) -> str:
        return self.name + self.versions


class ChosenRelease(NamedTuple):
    """A version in an index.

    Attributes:
        where: its index.
        name: of the module, as in the index.
        release: the version.
        document: all versions of the module in the index.
    """

    where: Index
    name: str
    release: Release
    document: ModuleDocument


def parse_requirement(text: str) -> Requirement | None:
    """Parse ``NAME``, ``NAME==VERSION`` or ``NAME>=1,<2``; return None for any other form.

    Raises:
        InvalidInput: a name is followed by an invalid range of versions.
    """
    match = _REQUIREMENT.fullmatch(text)
    if not match or not is_name(match.group(1)):
        return None
    requirement = Requirement(match.group(1), match.group(2).strip())
    if not requirement.exact:
        _specifier(requirement)
    return requirement


def choose(requirement: Requirement, indexes: Sequence[Index]) -> ChosenRelease:
    """Return the newest matching version in the first index that has one; later indexes are not searched then.

    An index that cannot be read is an error and is not skipped: otherwise blocking it would be enough to have another one searched.

    Raises:
        ModuleNotFound: no index has it; the message lists the indexes and their versions.
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
            return ChosenRelease(index, document.name, release, document)
        looked.append(f"{index.shown} ({_versions_text(document.versions)})")
    raise ModuleNotFound(
        f"no index has {requirement}. Looked in: {'; '.join(looked)}. Check the name with 'hub search', or add another index: "
        "hub index add URL_OR_FOLDER"
    )


def best(releases: Sequence[Release], requirement: Requirement) -> Release | None:
    """Return the newest matching version: no yanked one and no pre-release, unless it is given by ``==`` or there is no other."""
    by_version = {each.version: each for each in releases}
    if requirement.exact:
        found = find_version(requirement.exact, [*by_version])
        return by_version[found] if found else None
    usable = sorted((each.version for each in releases if not each.yanked), key=version_key)
    ordered = [each for each in usable if version_key(each)[0]]
    matching = list(_specifier(requirement).filter(ordered))
    if not matching and not requirement.versions:
        matching = usable  # there are only versions outside PEP 440, or pre-releases
    return by_version[max(matching, key=version_key)] if matching else None


def holds(name: str, index: Index) -> bool:
    """Return True if an index has a module of that name."""
    return folder_name(name) in map(folder_name, index.names())


def _specifier(requirement: Requirement):  # type: ignore[no-untyped-def] # packaging is imported lazily
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(requirement.versions)
    except InvalidSpecifier:
        raise InvalidInput(
            f"{requirement.versions[:60]!a} is not a range of versions: write {requirement.name}==1.2.0, "
            f"or a range such as '{requirement.name}>=1,<2'."
        ) from None


def _versions_text(releases: Sequence[Release]) -> str:
    usable = [each.version for each in releases if not each.yanked]
    yanked = [each.version for each in releases if each.yanked]
    some = f"has {', '.join(usable[-10:])}" if usable else "has no version that may be used"
    return some + (f"; withdrawn: {', '.join(yanked[-5:])}" if yanked else "")
