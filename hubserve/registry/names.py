"""Names and versions of modules: which are valid, how they sort, how a user writes them."""

import re
import unicodedata
from typing import Any

from hubserve.errors import InstallError, InvalidInput

_MAX_NAME_BYTES = 100
_NAME = re.compile(r"\w[\w-]*")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+!_-]{0,63}")


def folder_name(name: str) -> str:
    """Return the name of the folder that holds a module's versions, which is also its import name."""
    return name.replace("-", "_")


def is_name(text: str) -> bool:
    """Return True if a text can be a module's name: that of a folder and of a package."""
    return bool(_NAME.fullmatch(text)) and len(text.encode("utf-8")) <= _MAX_NAME_BYTES and unicodedata.is_normalized("NFC", text)


def check_name(name: str) -> None:
    """Refuse a module name that cannot be a folder and a package.

    Raises:
        InstallError: the name is invalid; the message says why.
    """
    if not is_name(name):
        raise InstallError(
            f"the module's name {_shown(name)} cannot be used, because it becomes a folder and a package name: it needs letters, "
            f"digits, '_' and '-' only, no '-' in front, and at most {_MAX_NAME_BYTES} bytes. Change name= in its @moduleinfo."
        )


def is_version(text: str) -> bool:
    """Return True if a text can be a module's version, and the name of a folder."""
    return bool(_VERSION.fullmatch(text)) and ".." not in text


def check_version(version: str) -> None:
    """Refuse a version that cannot be a folder.

    Raises:
        InstallError: the version is invalid; the message says why.
    """
    if not is_version(version):
        raise InstallError(
            f"the module's version {_shown(version)} cannot be used, because it becomes a folder's name: write it like 1.0.0, with "
            "letters, digits and . + - _ ! only, and at most 64 characters. Change version= in its @moduleinfo."
        )


def split_reference(reference: str) -> tuple[str, str | None]:
    """Split ``NAME`` or ``NAME==VERSION``.

    Returns:
        The name, and the version or None.
    Raises:
        InvalidInput: a part is empty.
    """
    name, separator, version = reference.partition("==")
    name, version = name.strip(), version.strip()
    if not name or (separator and not version):
        raise InvalidInput(f"{_shown(reference)} is not a module: write NAME or NAME==VERSION, such as clas_system==1.0.0.")
    return name, version if separator else None


def version_key(version: str) -> Any:
    """Return a sort key: versions in the order of PEP 440, after all other texts, which sort alphabetically."""
    from packaging.version import InvalidVersion, Version

    try:
        return (1, Version(version), version)
    except InvalidVersion:
        return (0, version, version)


def find_version(wanted: str, present: list[str]) -> str | None:
    """Return the present version that a text means: the same text, else an equal version (``1.0`` finds ``1.0.0``), else None."""
    if wanted in present:
        return wanted
    return next((each for each in present if version_key(each)[:2] == version_key(wanted)[:2]), None)


def _shown(text: str) -> str:
    return ascii(text) if len(text) <= 60 else ascii(text[:60]) + "..."
