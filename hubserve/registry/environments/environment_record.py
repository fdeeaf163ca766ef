"""Environments of a home: ``environments/<key>/``, each described by its ``environment.json``."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from hubserve.errors import InstallError, ModuleNotFound

FOLDER_NAME = "environments"
RECORD_NAME = "environment.json"
#: marks an environment that is being built
MARKER_NAME = ".building"
SCHEMA_VERSION = 1


class Environment(NamedTuple):
    """Finished environment.

    Attributes:
        folder: its folder, named after the key.
        python: the full version of its Python.
        base: the interpreter that it was made with.
        platform: platform of its packages.
        pins: its packages, ``name==version`` or ``name @ address``.
        origin: see :class:`hubserve.registry.environments.package_lock.Lock`.
        tool: name of the tool that installed them.
        created: time in UTC, ISO 8601.
        size_bytes: total size of its files.
        requests: digests of the requirements that were resolved to it.
        profile: the name of the profile that it is made from; "" for none.
        environ: environment variables of the processes that run there; see :mod:`hubserve.registry.environments.launch`.
        library_path: folders put before ``LD_LIBRARY_PATH``; likewise.
        broken: names that its profile provides and that cannot be imported, each with the reason.
        choices: digests of the cases in which it was chosen for a module, each with the profile, the reason and what is missing.
    """

    folder: Path
    python: str
    base: str
    platform: str
    pins: tuple[str, ...]
    origin: str
    tool: str
    created: str
    size_bytes: int
    requests: tuple[str, ...] = ()
    profile: str = ""
    environ: Mapping[str, str] = MappingProxyType({})
    library_path: tuple[str, ...] = ()
    broken: Mapping[str, str] = MappingProxyType({})
    choices: Mapping[str, Mapping[str, Any]] = MappingProxyType({})

    @property
    def key(self) -> str:
        """Name of the environment."""
        return self.folder.name

    @property
    def executable(self) -> Path:
        """Path of its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """Folder of its packages."""
        return self.folder / "lib" / f"python{'.'.join(self.python.split('.')[:2])}" / "site-packages"

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``environment.json``."""
        fields = self._asdict()
        del fields["folder"]
        fields.update(environ=dict(self.environ), broken=dict(self.broken), choices=dict(self.choices))
        return {"schema_version": SCHEMA_VERSION, "key": self.key, **fields}


def environments_dir(home: Path) -> Path:
    """Return the folder of a home's environments."""
    return home / FOLDER_NAME


def write_record(environment: Environment) -> None:
    """Write an environment's ``environment.json`` atomically."""
    path = environment.folder / RECORD_NAME
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(environment.to_json(), indent=2) + "\n", "utf-8")
    partial.replace(path)


def read_record(folder: Path) -> Environment | None:
    """Return the environment in a folder, or None if it is unfinished or damaged, or its Python was removed."""
    if (folder / MARKER_NAME).exists():
        return None
    try:
        document = json.loads((folder / RECORD_NAME).read_text("utf-8"))
        if document["schema_version"] > SCHEMA_VERSION:
            return None
        found = _from_json(folder, document)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return found if found.executable.exists() else None


def _from_json(folder: Path, document: dict[str, Any]) -> Environment:
    fields: dict[str, Any] = {key: str(document[key]) for key in ("python", "base", "platform", "origin", "tool", "created")}
    fields.update({key: tuple(map(str, document[key])) for key in ("pins", "requests")})
    # absent from records made before profiles existed
    fields["profile"] = str(document.get("profile", ""))
    fields["environ"] = {str(key): str(value) for key, value in document.get("environ", {}).items()}
    fields["broken"] = {str(key): str(value) for key, value in document.get("broken", {}).items()}
    fields["choices"] = dict(document.get("choices", {}))
    fields["library_path"] = tuple(map(str, document.get("library_path", ())))
    return Environment(folder, size_bytes=int(document["size_bytes"]), **fields)


def all_environments(home: Path) -> list[Environment]:
    """Return every finished environment of a home, sorted by key."""
    return [found for folder in folders(home) if (found := read_record(folder))]


def folders(home: Path) -> list[Path]:
    """Return the folders of all environments, finished or not."""
    try:
        return sorted(each for each in environments_dir(home).iterdir() if each.is_dir() and not each.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def get_environment(home: Path, key: str) -> Environment:
    """Return the environment of a key, or of the beginning of a key.

    Raises:
        ModuleNotFound: no key, or more than one, matches.
    """
    found = [each for each in all_environments(home) if each.key == key or (key and each.key.startswith(key))]
    exact = [each for each in found if each.key == key] or found
    if len(exact) == 1:
        return exact[0]
    what = f"{len(exact)} environments begin with '{key[:60]}'" if exact else f"there is no environment '{key[:60]}'"
    raise ModuleNotFound(f"{what}. Run 'hub env list' to see their keys.")


def needed_environment(home: Path, key: str, module: str) -> Environment:
    """Return the environment of an installed module.

    Raises:
        InstallError: it is missing or unusable.
    """
    found = read_record(environments_dir(home) / key)
    if found is None:
        raise InstallError(
            f"the environment '{key}' of '{module}' is missing, unfinished, or its Python was removed. Install the module again to "
            "rebuild it."
        )
    return found


def used_bytes(folder: Path) -> int:
    """Return the total size of the files below a folder, without links."""
    total_bytes = 0
    for base, _folders, files in os.walk(folder):
        for each in files:
            path = Path(base, each)
            if each not in (MARKER_NAME, RECORD_NAME) and not path.is_symlink():
                total_bytes += path.stat().st_size
    return total_bytes
