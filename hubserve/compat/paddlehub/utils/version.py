"""Versions that compare by their numbers."""

from typing import Any

from hubserve.kinds.versions import satisfies, version_key


class Version(str):
    """Text of a version that compares with versions and texts by its numbers: ``Version("1.10") > "1.9"``."""

    def match(self, condition: str) -> bool:
        """Return True if it meets a condition such as ``1.2``, ``>=1.2`` or ``<2``; an empty condition is always met."""
        return satisfies(self, condition)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, str) and version_key(self) == version_key(other)

    def __ne__(self, other: Any) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(str(version_key(self)))

    def __lt__(self, other: str) -> bool:
        return version_key(self) < version_key(other)

    def __le__(self, other: str) -> bool:
        return version_key(self) <= version_key(other)

    def __gt__(self, other: str) -> bool:
        return version_key(self) > version_key(other)

    def __ge__(self, other: str) -> bool:
        return version_key(self) >= version_key(other)


def version_compare(version1: str, version2: str) -> bool:
    """Return True if the first is the newer one."""
    return version_key(version1) > version_key(version2)
