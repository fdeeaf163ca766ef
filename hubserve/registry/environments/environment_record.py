"""The environments of one home: ``environments/<key>/``, each with an ``environment.json`` that says what it is."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from hubserve.errors import InstallError, ModuleNotFound

FOLDER_NAME = "environments"
RECORD_NAME = "environment.json"
#: Lies in an environment while it is built.
MARKER_NAME = ".building"
SCHEMA_VERSION = 1


class Environment(NamedTuple):
    """One finished environment.

    Attributes:
        folder: where it is; its name is the key.
        python: the full version of its Python.
        base: the interpreter that it was made with.
        platform: what its packages are for.
        pins: its packages, ``name==version`` or ``name @ address``.
        origin: see :class:`hubserve.registry.environments.package_lock.Lock`.
        tool: what installed them.
        created: UTC, ISO 8601.
        size_bytes: of its files.
        requests: digests of the requirements that were resolved to it.
        profile: the name of the profile that it is made from; "" for none.
        environ: environment variables of the processes that run there; see :mod:`hubserve.registry.environments.launch`.
        library_path: folders put before ``LD_LIBRARY_PATH``; likewise.
        broken: what its profile promises and cannot be imported, each with the reason.
        choices: digests of the cases in which it was chosen for a module, each with what was said of it.
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
        """Its name."""
        return self.folder.name

    @property
    def executable(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        return self.folder / "lib" / f"python{'.'.join(self.python.split('.')[:2])}" / "site-packages"

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        fields = self._asdict()
        del fields["folder"]
        fields.update(environ=dict(self.environ), broken=dict(self.broken), choices=dict(self.choices))
        return {"schema_version": SCHEMA_VERSION, "key": self.key, **fields}


def environments_dir(home: Path) -> Path:
    """Where the environments of a home are."""
    return home / FOLDER_NAME


def write_record(environment: Environment) -> None:
    """Write what an environment is, at once or not at all."""
    path = environment.folder / RECORD_NAME
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(environment.to_json(), indent=2) + "\n", "utf-8")
    partial.replace(path)


def read_record(folder: Path) -> Environment | None:
    """The environment in a folder; None if it is unfinished or damaged, or its Python is no longer there."""
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
    # records that are older than profiles lack these
    fields["profile"] = str(document.get("profile", ""))
    fields["environ"] = {str(key): str(value) for key, value in document.get("environ", {}).items()}
    fields["broken"] = {str(key): str(value) for key, value in document.get("broken", {}).items()}
    fields["choices"] = dict(document.get("choices", {}))
    fields["library_path"] = tuple(map(str, document.get("library_path", ())))
    return Environment(folder, size_bytes=int(document["size_bytes"]), **fields)


def all_environments(home: Path) -> list[Environment]:
    """Every finished environment of a home, by key."""
    return [found for folder in folders(home) if (found := read_record(folder))]


def folders(home: Path) -> list[Path]:
    """The folders of all environments, finished or not."""
    try:
        return sorted(each for each in environments_dir(home).iterdir() if each.is_dir() and not each.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def get_environment(home: Path, key: str) -> Environment:
    """The environment of a key, or of the beginning of one.

    Raises:
        ModuleNotFound: there is none, or several begin so.
    """
    found = [each for each in all_environments(home) if each.key == key or (key and each.key.startswith(key))]
    exact = [each for each in found if each.key == key] or found
    if len(exact) == 1:
        return exact[0]
    what = f"{len(exact)} environments begin with '{key[:60]}'" if exact else f"there is no environment '{key[:60]}'"
    raise ModuleNotFound(f"{what}. Run 'hub env list' to see their keys.")


def needed_environment(home: Path, key: str, module: str) -> Environment:
    """The environment that an installed module runs in.

    Raises:
        InstallError: it is gone or unusable.
    """
    found = read_record(environments_dir(home) / key)
    if found is None:
        raise InstallError(
            f"the environment '{key}' of '{module}' is missing, unfinished, or its Python was removed. Install the module again: it is "
            "built anew."
        )
    return found


def used_bytes(folder: Path) -> int:
    """The size of all files below a folder; links count as nothing."""
    total_bytes = 0
    for base, _folders, files in os.walk(folder):
        for each in files:
            path = Path(base, each)
            if each not in (MARKER_NAME, RECORD_NAME) and not path.is_symlink():
                total_bytes += path.stat().st_size
    return total_bytes
