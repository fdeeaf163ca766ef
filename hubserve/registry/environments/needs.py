"""What a module needs of the Python that runs it."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from hubserve.errors import InstallError
from hubserve.kinds.base import ModuleInfo
from hubserve.registry.configuration import nearest
from hubserve.registry.environments.requirements import Requirements, read_requirements

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

#: They are hubserve's own means of starting an instance.
_RESERVED = ("PYTHONPATH", "PYTHONHOME", "HUB_HOME", "HUBSERVE_SEARCH_PATH", "HUBSERVE_THREADS")
_KEYS = ("isolated", "environ", "library_path")


class Needs(NamedTuple):
    """What a module needs.

    Attributes:
        requirements: its packages.
        requires_python: the Pythons it runs on, a PEP 440 range; "" for any.
        isolated: whether it wants an environment of its own in any case.
        environ: environment variables; see :mod:`hubserve.registry.environments.launch` for the names that values may hold.
        library_path: folders in which native libraries are looked up first; likewise.
    """

    requirements: Requirements = Requirements()
    requires_python: str = ""
    isolated: bool = False
    environ: Mapping[str, str] = MappingProxyType({})
    library_path: tuple[str, ...] = ()


def read_needs(folder: Path, info: ModuleInfo, *, allow_urls: bool = False) -> Needs:
    """Read what a module says of its needs, without running it.

    Args:
        folder: the module's files.
        info: its metadata.
        allow_urls: whether its requirements may name addresses.
    Raises:
        InstallError: something of it cannot be used; the message says where and why.
    """
    environ, library_path, isolated = settings_of(info)
    python_range(info.requires_python, f"requires_python of '{info.name}'")
    return Needs(read_requirements(folder, allow_urls=allow_urls), info.requires_python, isolated, environ, library_path)


def settings_of(info: ModuleInfo) -> tuple[dict[str, str], tuple[str, ...], bool]:
    """The module's ``environment`` object: ``environ``, ``library_path`` and ``isolated``.

    Raises:
        InstallError: a key is unknown, or a value of another type.
    """
    settings: dict[str, Any] = info.environment or {}
    for key in settings:
        if key not in _KEYS:
            raise InstallError(
                f"'{info.name}': its environment has an unknown key '{str(key)[:60]}'{nearest(str(key), list(_KEYS))}. Known are "
                f"{', '.join(_KEYS)}.".replace("?.", "?")
            )
    environ, library_path, isolated = settings.get("environ", {}), settings.get("library_path", []), settings.get("isolated", False)
    if not (isinstance(environ, dict) and all(isinstance(each, str) for pair in environ.items() for each in pair)):
        raise _wrong(info, "environ", 'names and texts, like {"NAME": "value"}')
    if not (isinstance(library_path, (list, tuple)) and all(isinstance(each, str) and each for each in library_path)):
        raise _wrong(info, "library_path", 'a list of folders, like ["lib"]')
    if not isinstance(isolated, bool):
        raise _wrong(info, "isolated", "true or false")
    for name in environ:
        problem = variable_problem(name)
        if problem:
            raise InstallError(f"'{info.name}': its environment sets the variable {name[:60]!r}, which {problem}")
    return environ, tuple(library_path), isolated


def variable_problem(name: str) -> str:
    """Why an environment variable cannot be set for an instance; "" if it can."""
    if name in _RESERVED:
        return "hub itself sets for every instance. Remove it; packages belong into requirements.txt."
    return "" if name and "=" not in name and "\0" not in name else "is no name for a variable. Mend it."


def python_range(text: str, what: str) -> "SpecifierSet":
    """A PEP 440 range; any version where the text is empty.

    Raises:
        InstallError: it is none.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(text, prereleases=True)
    except InvalidSpecifier:
        raise InstallError(f"{what} is {text[:60]!r}, which is no range of versions. Write it like >=3.8,<3.10.") from None


def _wrong(info: ModuleInfo, key: str, wanted: str) -> InstallError:
    return InstallError(f"'{info.name}': {key} of its environment must be {wanted}. Mend it in the module.")
