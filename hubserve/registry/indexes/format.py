"""Documents of an index: ``index.json`` with the names, ``modules/<name>.json`` with one module's versions.

Everything that is read is checked, because an index may be hostile.
"""

import json
import re
from typing import Any

import msgspec

from hubserve.errors import InstallError
from hubserve.registry.archives.extraction import safe_parts
from hubserve.registry.names import check_name, check_version, folder_name

SCHEMA_VERSION = 1
INDEX_NAME = "index.json"
MODULES_FOLDER = "modules"
ARCHIVES_FOLDER = "archives"
#: the largest documents that are read, and the most that they may list
MAX_INDEX_BYTES = 32 << 20
MAX_MODULE_BYTES = 8 << 20
MAX_NAMES = 100_000
MAX_VERSIONS = 10_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Signature(msgspec.Struct, frozen=True):
    """A signature of :func:`hubserve.registry.indexes.signatures.signed_text`.

    Attributes:
        key: the identifier of the key.
        value: base64 of 64 bytes.
        algorithm: always ``ed25519``.
    """

    key: str
    value: str
    algorithm: str = "ed25519"


class Release(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of a module.

    Attributes:
        version: as in the module.
        archive: the path of its archive in the index, with ``/`` between folders.
        sha256: 64 hexadecimal digits, of the archive.
        size_bytes: of the archive.
        kind: of module.
        summary: one sentence.
        requires_python: the Python versions that the module supports, a range as in PEP 440; "" for any.
        requirements_sha256: of its requirements.txt, 64 hexadecimal digits; "" without one.
        signature: by its publisher.
        yanked: why it was withdrawn; "" if it was not.
    """

    version: str
    archive: str
    sha256: str
    size_bytes: int
    kind: str = ""
    summary: str = ""
    requires_python: str = ""
    requirements_sha256: str = ""
    signature: Signature | None = None
    yanked: str = ""


class ModuleDocument(msgspec.Struct, frozen=True):
    """``modules/<name>.json``: one module's versions, from the oldest to the newest."""

    schema_version: int
    name: str
    versions: list[Release]


class Summary(msgspec.Struct, frozen=True):
    """Entry of one module in ``index.json``.

    Attributes:
        latest: the version that its bare name installs; "" if all are yanked.
        summary: of that version.
    """

    latest: str = ""
    summary: str = ""


class IndexDocument(msgspec.Struct, frozen=True):
    """``index.json``: every module's name and newest version."""

    schema_version: int
    modules: dict[str, Summary]


def module_path(name: str) -> str:
    """Return the path of a module's document; ``-`` and ``_`` are equivalent."""
    return f"{MODULES_FOLDER}/{folder_name(name)}.json"


def read_index_document(body: bytes, shown: str) -> IndexDocument:
    """Decode and check an ``index.json``.

    Args:
        body: its bytes.
        shown: its name in messages.
    Raises:
        InstallError: it is not such a document, or was written by a newer hubserve.
    """
    document: IndexDocument = _decoded(body, IndexDocument, shown)
    if len(document.modules) > MAX_NAMES:
        raise _wrong(shown, f"it lists {len(document.modules)} modules, and {MAX_NAMES} is the most")
    for name in document.modules:
        _checked(shown, check_name, name, "a module's name")
    return document


def read_module_document(body: bytes, name: str, shown: str) -> ModuleDocument:
    """Decode and check a ``modules/<name>.json``.

    Raises:
        InstallError: it is not such a document, is another module's, or has a harmful entry; the message names it.
    """
    document: ModuleDocument = _decoded(body, ModuleDocument, shown)
    if folder_name(document.name) != folder_name(name):
        raise _wrong(shown, f"it is about {document.name[:60]!a} instead of '{name}'")
    if len(document.versions) > MAX_VERSIONS:
        raise _wrong(shown, f"it lists {len(document.versions)} versions, and {MAX_VERSIONS} is the most")
    _checked(shown, check_name, document.name, "a module's name")
    for release in document.versions:
        _check_release(release, shown)
    if len({each.version for each in document.versions}) < len(document.versions):
        raise _wrong(shown, "it lists a version twice")
    return document


def _check_release(release: Release, shown: str) -> None:
    _checked(shown, check_version, release.version, "a version")
    if "://" in release.archive or any(each in release.archive for each in "?#%"):
        raise _wrong(shown, f"the archive {release.archive[:80]!a} is not a path inside the index")
    _checked(shown, safe_parts, release.archive, "an archive's path")
    if not safe_parts(release.archive):
        raise _wrong(shown, f"version {release.version} has no archive")
    if not _SHA256.fullmatch(release.sha256):
        raise _wrong(shown, f"the sha256 of version {release.version} is not 64 hexadecimal digits")
    if release.size_bytes < 0:
        raise _wrong(shown, f"the size of version {release.version} is below 0")


def _checked(shown: str, check: Any, text: str, what: str) -> None:
    try:
        check(text)
    except (InstallError, UnicodeError) as error:
        reason = str(error).partition(": ")[2].partition(". ")[0] if check is safe_parts else "as it becomes the name of a folder"
        raise _wrong(shown, f"{text[:80]!a} is refused as {what}, {reason}") from None


def _decoded(body: bytes, cls: Any, shown: str) -> Any:
    try:
        version = msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get("schema_version", msgspec.Raw(b"null"))
        number = msgspec.json.decode(version, type=int)
        if number > SCHEMA_VERSION:
            raise InstallError(f"'{shown}' has schema_version {number}, and this hubserve reads up to {SCHEMA_VERSION}. Upgrade hubserve.")
        return msgspec.json.decode(body, type=cls)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _wrong(shown, str(error)[:200]) from None


def _wrong(shown: str, why: str) -> InstallError:
    return InstallError(f"'{shown}' is not a valid document of an index: {why}. Check the index's address, or report it to its owner.")


def encoded(document: msgspec.Struct) -> bytes:
    """Return the bytes of a document: indented JSON, the same bytes for the same content."""
    return (json.dumps(msgspec.to_builtins(document), indent=1, ensure_ascii=False) + "\n").encode()
