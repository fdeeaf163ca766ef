"""``bundle.json``: the contents of a bundle."""

import json
import platform
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from hubserve.errors import HubError, InstallError
from hubserve.registry.archives.extraction import safe_parts
from hubserve.registry.names import check_name, check_version

NAME = "bundle.json"
SCHEMA_VERSION = 1
_MAX_BYTES = 16 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: names of environment profiles
_PROFILE = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]*")


class BundledFile(msgspec.Struct, frozen=True):
    """One member of a bundle.

    Attributes:
        path: its name in the bundle.
        sha256: of its bytes, 64 hexadecimal digits.
        size_bytes: number of bytes.
    """

    path: str
    sha256: str
    size_bytes: int


class BundledModule(msgspec.Struct, frozen=True):
    """One module version.

    Attributes:
        name, version: the module's.
        archive: the module with its assets.
        environment: the key of one of the bundle's environments; "" where the module runs in the Python of hubserve itself.
        profile: the environment profile that it runs in, or what ``--environment`` named; "" for an automatic choice.
        packages: what ``--with`` added.
    """

    name: str
    version: str
    archive: BundledFile
    environment: str = ""
    profile: str = ""
    packages: list[str] = []


class BundledEnvironment(msgspec.Struct, frozen=True):
    """The packages from which one environment is built.

    Attributes:
        key: its key on the machine that made the bundle.
        python: the version of its Python.
        wheels: its packages.
    """

    key: str
    python: str
    wheels: list[BundledFile]


class BundleIndex(msgspec.Struct, frozen=True):
    """Contents of a bundle.

    Attributes:
        schema_version: of this document.
        machine: the platform of the wheels, such as ``Linux x86_64``.
        modules, environments: its contents.
        profiles: name -> document of each user-defined environment profile that the modules need.
    """

    schema_version: int
    machine: str
    modules: list[BundledModule]
    environments: list[BundledEnvironment] = []
    profiles: dict[str, dict[str, Any]] = {}

    def files(self) -> Iterator[BundledFile]:
        """Yield every member except the index itself."""
        yield from (each.archive for each in self.modules)
        for environment in self.environments:
            yield from environment.wheels

    def encode(self) -> bytes:
        """Return the bytes of ``bundle.json``."""
        return json.dumps(msgspec.to_builtins(self), indent=2, ensure_ascii=False).encode() + b"\n"


def machine() -> str:
    """Return the platform that wheels built here run on."""
    return f"{platform.system()} {platform.machine()}"


def decode(text: bytes, origin: str) -> BundleIndex:
    """Read ``bundle.json``.

    Args:
        text: its bytes.
        origin: the bundle's name in messages.
    Raises:
        InstallError: it is damaged or hostile, or was written by a newer hubserve.
    """
    try:
        if len(text) > _MAX_BYTES:
            raise InstallError(f"it is over {_MAX_BYTES} bytes")
        document: Any = json.loads(text)
        if isinstance(document, dict) and isinstance(document.get("schema_version"), int) and document["schema_version"] > SCHEMA_VERSION:
            raise InstallError("it was written by a newer hubserve; upgrade hubserve, or bundle the modules again with this one")
        index = msgspec.convert(document, BundleIndex)
        _check(index)
    except (HubError, ValueError, RecursionError) as error:
        reason = error.message if isinstance(error, HubError) else str(error)
        raise InstallError(f"the {NAME} of '{origin}' cannot be used: {reason}. Fetch the bundle again, or make a new one.") from None
    return index


def _check(index: BundleIndex) -> None:
    if not index.modules:
        raise InstallError("it lists no module")
    keys = {each.key for each in index.environments}
    for module in index.modules:
        check_name(module.name)
        check_version(module.version)
        if module.profile and not _PROFILE.fullmatch(module.profile):
            raise InstallError(f"module '{module.name}' names the profile {module.profile[:40]!a}, which is not a plain name")
        if module.environment and module.environment not in keys:
            raise InstallError(f"module '{module.name}' needs the environment {module.environment[:40]!a}, which it does not hold")
    for name in index.profiles:
        if not _PROFILE.fullmatch(name):
            raise InstallError(f"it has a profile {name[:40]!a}, which is not a plain name")
    for path, suffix in _suffixes(index):
        if not path.endswith(suffix):  # pip would follow the links in an HTML file
            raise InstallError(f"it names {path[:80]!a}, which is not a {suffix} file")
    seen = {NAME}
    for file in index.files():
        if "/".join(safe_parts(file.path)) != file.path or file.path in seen:
            raise InstallError(f"it names {file.path[:80]!a}, which is not a plain name, or is listed twice")
        if not _SHA256.fullmatch(file.sha256) or file.size_bytes < 0:
            raise InstallError(f"its entry for '{file.path}' has no valid digest and size")
        seen.add(file.path)


def _suffixes(index: BundleIndex) -> Iterator[tuple[str, str]]:
    yield from ((each.archive.path, ".tar.gz") for each in index.modules)
    yield from ((wheel.path, ".whl") for each in index.environments for wheel in each.wheels)
