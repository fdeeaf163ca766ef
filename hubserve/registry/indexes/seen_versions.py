"""Record which signed versions an index had, to refuse one that goes back to an older state.

Signatures cover versions one by one. The owner of an index, or of an old copy of it, can leave versions out, undo a withdrawal, or offer
another archive that was once signed as the same version; comparing with what this home has seen before reveals it.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from hubserve.errors import ConfigError, InstallError
from hubserve.registry.downloads.canonical import index_key
from hubserve.registry.indexes.format import Release
from hubserve.registry.indexes.select import ChosenRelease, Requirement, best
from hubserve.registry.indexes.signatures import is_signed
from hubserve.registry.indexes.trusted_keys import TrustedKey
from hubserve.registry.lock import store_lock
from hubserve.registry.names import folder_name, version_key

FILE_NAME = "index_history.json"
SCHEMA_VERSION = 1


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version signed by a trusted key.

    Attributes:
        sha256: the digest of its archive.
        yanked: why it was withdrawn; "" if it was not.
    """

    sha256: str
    yanked: str = ""


#: version -> the archive and withdrawal that were seen
Versions = dict[str, Seen]


class Document(msgspec.Struct):
    """Contents of the file: index -> module -> versions."""

    schema_version: int = SCHEMA_VERSION
    indexes: dict[str, dict[str, Versions]] = {}


def guard(home: Path, chosen: ChosenRelease, requirement: Requirement, keys: list[TrustedKey], *, installed: str, allow: bool) -> None:
    """Refuse a choice that goes back to an older state; record what the index has now.

    Args:
        home: the home with the record.
        chosen: a version that one of ``keys`` signed.
        requirement: the requirement that was asked for.
        keys: those that are trusted for the index.
        installed: the current version of the module; "" if it is not installed.
        allow: accept it anyway, and record only what the index has now.
    Raises:
        InstallError: it goes back; the message says from what.
        ConfigError: the record is damaged.
    """
    path = home / "conf" / FILE_NAME
    with store_lock(path.parent, 60):
        document = _read(path)
        modules = document.indexes.setdefault(index_key(chosen.where.location), {})
        before = modules.get(folder_name(chosen.name), {})
        reason = "" if allow else goes_back(before, chosen, requirement, installed)
        if reason:
            raise InstallError(
                f"{chosen.name} {chosen.release.version} from {chosen.where.shown} is refused: {reason}. The index may be an old copy: "
                "ask its owner. To install it anyway, add --allow-downgrade"
            )
        after = _merged({} if allow else before, chosen, keys)
        if after != before:
            modules[folder_name(chosen.name)] = after
            _write(path, document)


def goes_back(before: Versions, chosen: ChosenRelease, requirement: Requirement, installed: str) -> str:
    """Return why a choice goes back to an older state; "" if it does not. An older version given by ``==`` is the user's decision."""
    release = chosen.release
    seen = before.get(release.version)
    if seen and release.sha256 != seen.sha256:
        return "the index has another archive of that version than when it was read before, and only one of them can be the newer"
    if requirement.exact:
        return ""
    if seen and seen.yanked:
        return f"it was withdrawn ({seen.yanked}) when the index was read before, and no longer is"
    newest = best([Release(version, "", "", 0, yanked=each.yanked) for version, each in before.items()], requirement)
    if newest and version_key(newest.version) > version_key(release.version):
        now = next((each for each in chosen.document.versions if each.version == newest.version), None)
        how = f"has it withdrawn now ({now.yanked})" if now and now.yanked else "no longer offers it"
        return f"the index had {newest.version}, signed, when it was read before, and {how}"
    if installed and version_key(installed) > version_key(release.version) and requirement.allows(installed):
        return f"{installed} is installed, which is newer"
    return ""


def _merged(before: Mapping[str, Seen], chosen: ChosenRelease, keys: list[TrustedKey]) -> Versions:
    """Add what is signed now. A version's first archive stays on record, and a withdrawal until the version is chosen by ``==``."""
    after = dict(before)
    for release in chosen.document.versions:
        known = after.get(release.version)
        if known is None and is_signed(chosen.name, release, keys):
            after[release.version] = Seen(release.sha256, release.yanked)
        elif known is not None and (release.yanked or release.version == chosen.release.version):
            after[release.version] = Seen(known.sha256, release.yanked)
    return after


def _read(path: Path) -> Document:
    try:
        document = msgspec.json.decode(path.read_bytes(), type=Document)
    except FileNotFoundError:
        return Document()
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
        raise ConfigError(f"'{path}' cannot be read: {error}. Restore it, or delete it to forget which versions indexes had.") from None
    if document.schema_version > SCHEMA_VERSION:
        raise ConfigError(f"'{path}' was written by a newer hubserve. Upgrade hubserve, or delete it to forget which versions indexes had.")
    return document


def _write(path: Path, document: Document) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
        os.replace(partial, path)
    except OSError as error:
        raise ConfigError(f"cannot write '{path}': {error.strerror}. Check its permissions.") from None
