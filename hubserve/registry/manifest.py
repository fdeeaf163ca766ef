"""``.hubserve.json``: the manifest of an installed version."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.errors import InstallError
from hubserve.kinds.base import ModuleInfo

MANIFEST_NAME = ".hubserve.json"
#: beside it: the digest of each file, so that ``hub verify`` can name those that changed
FILES_NAME = ".hubserve.files.json"
SCHEMA_VERSION = 1


class EnvironmentChoice(NamedTuple):
    """Choice of an installed version's environment.

    Attributes:
        profile: the name of the profile that it is based on; "" for none.
        asked: the user's ``--environment``; "" for an automatic choice.
        packages: the user's ``--with``.
        why: the reason, as the end of a sentence.
        lacks: what is missing in the environment; sentences.
    """

    profile: str = ""
    asked: str = ""
    packages: tuple[str, ...] = ()
    why: str = ""
    lacks: tuple[str, ...] = ()


class Manifest(NamedTuple):
    """Manifest of one installed version.

    Attributes:
        info: the metadata, read from the source without running it.
        source: what it was installed from, absolute.
        source_folder: relative model paths are looked up there and in its parent: the source if that was a folder; else the folder that
            stands for it among the assets in the archive, relative to the module's files; else empty.
        import_folder: the package name under which the module is imported.
        installed_at: UTC, ISO 8601.
        digest: of the files; see :class:`hubserve.registry.digests.Contents`.
        files: number of files.
        size_bytes: of all of them.
        environment: the key of the environment that it runs in; "" for the host's Python.
        provenance: its origin, and what was verified about it: ``kind`` (of source), ``url`` (without credentials), ``sha256`` (of
            the archive), ``commit``, ``index``, ``signed_by``, as far as they apply; see :mod:`hubserve.registry.sources`.
        chosen: how the environment was chosen.
    """

    info: ModuleInfo
    source: str
    source_folder: str
    import_folder: str
    installed_at: str
    digest: str
    files: int
    size_bytes: int
    environment: str = ""
    provenance: dict[str, str] | None = None
    chosen: EnvironmentChoice = EnvironmentChoice()

    def to_json(self) -> dict[str, Any]:
        """Return the document of the file."""
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.info.name,
            "version": self.info.version,
            "kind": self.info.kind,
            "metadata": self.info.to_json(),
            "source": self.source,
            "source_folder": self.source_folder,
            "import_folder": self.import_folder,
            "installed_at": self.installed_at,
            "digest": self.digest,
            "files": self.files,
            "size_bytes": self.size_bytes,
            "environment": self.environment,
            "environment_choice": self.chosen._asdict(),
            **({"provenance": self.provenance} if self.provenance else {}),
        }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into a version's folder."""
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a version's folder.

    Raises:
        InstallError: it is missing or damaged, or a newer hubserve wrote it.
    """
    path = folder / MANIFEST_NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        schema_version = document["schema_version"]
    except FileNotFoundError:
        raise InstallError(
            f"'{folder}' has no {MANIFEST_NAME}, so it was not installed by hub. Delete the folder, or install it again."
        ) from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(path, error) from None
    if not isinstance(schema_version, int) or schema_version > SCHEMA_VERSION:
        raise InstallError(
            f"'{path}' has schema_version {str(schema_version)[:20]}, and this hubserve reads up to {SCHEMA_VERSION}: a newer one "
            "wrote it. Upgrade hubserve, or install the module again with this one."
        )
    try:
        return _from_json(document)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(path, error) from None


def _from_json(document: dict[str, Any]) -> Manifest:
    known = {key: value for key, value in document["metadata"].items() if key in ModuleInfo._fields}
    texts = {key: _text(document[key]) for key in ("source", "source_folder", "import_folder", "installed_at", "digest")}
    info = ModuleInfo(**{**known, "name": _text(document["name"]), "version": _text(document["version"]), "kind": _text(document["kind"])})
    environment = _text(document.get("environment", ""))
    provenance = {_text(key): _text(value) for key, value in (document.get("provenance") or {}).items()} or None
    chosen = _chosen(document.get("environment_choice") or {})
    files, size_bytes = int(document["files"]), int(document["size_bytes"])
    return Manifest(info=info, files=files, size_bytes=size_bytes, environment=environment, provenance=provenance, chosen=chosen, **texts)


def _chosen(document: dict[str, Any]) -> EnvironmentChoice:
    texts = {key: _text(document.get(key, "")) for key in ("profile", "asked", "why")}
    return EnvironmentChoice(
        **texts, packages=tuple(map(_text, document.get("packages", ()))), lacks=tuple(map(_text, document.get("lacks", ())))
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text was expected, got {type(value).__name__}")
    return value


def _damaged(path: Path, error: BaseException) -> InstallError:
    return InstallError(f"'{path}' is damaged ({type(error).__name__}: {error}). Install the module again, or delete its folder.")
