"""Requirements of a module: its packages, its Pythons, and its ``environment`` settings."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from hubserve.engines.gpu_packages import lacks_gpu_build
from hubserve.engines.selection import is_installed
from hubserve.engines.table import AUTO, engine_class
from hubserve.errors import InstallError
from hubserve.kinds.base import ModuleInfo
from hubserve.registry.configuration import nearest
from hubserve.registry.environments.requirements import Requirements, read_requirements

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

#: hubserve itself sets these to start an instance
_RESERVED = ("PYTHONPATH", "PYTHONHOME", "HUB_HOME", "HUBSERVE_SEARCH_PATH", "HUBSERVE_PYTHONPATH", "HUBSERVE_THREADS")
_KEYS = ("isolated", "environ", "library_path", "profile", "engine")


class ProfileSettings(NamedTuple):
    """The settings of a profile other than packages.

    Attributes:
        profile: its name.
        pythons: supported versions, the preferred one first: ``3.8``.
        environ: environment variables of the processes that run there.
        library_path: folders in which native libraries are looked up first.
        size_mb: approximate size on disk; 0 if unknown.
        allow_urls: whether its requirements name addresses.
        extended: whether a module's own packages are added to the profile's.
        imports: names that can be imported there.
        no_deps: pins of packages that are installed without what they require.
        size_cpu_mb: approximate size with builds for CPUs; 0 if there are none.
    """

    profile: str
    pythons: tuple[str, ...] = ()
    environ: Mapping[str, str] = MappingProxyType({})
    library_path: tuple[str, ...] = ()
    size_mb: int = 0
    allow_urls: bool = False
    extended: bool = False
    imports: tuple[str, ...] = ()
    no_deps: tuple[str, ...] = ()
    size_cpu_mb: int = 0


class EnvironmentSettings(NamedTuple):
    """The settings of a module's ``environment``.

    Attributes:
        environ: environment variables.
        library_path: folders of native libraries.
        isolated: whether it requires a separate environment in any case.
        profile: the name of the requested profile, or ``host``; "" for an automatic choice.
        engine: the engine of a model file, whose profile is requested where this Python does not have its package; "" for none.
    """

    environ: dict[str, str]
    library_path: tuple[str, ...]
    isolated: bool
    profile: str
    engine: str = ""


class Needs(NamedTuple):
    """Requirements of a module or a profile.

    Attributes:
        requirements: its packages.
        requires_python: supported Pythons, a PEP 440 range; "" for any.
        isolated: whether it requires a separate environment in any case.
        environ: environment variables; :mod:`hubserve.registry.environments.launch` lists the placeholders that values may contain.
        library_path: folders in which native libraries are looked up first; likewise.
        profile: the name of the requested profile, or ``host``; "" for an automatic choice.
        base: settings of the profile whose packages are among :attr:`requirements`; None without a profile.
        engine: the engine that asks for :attr:`profile`; "" if it is not an engine.
    """

    requirements: Requirements = Requirements()
    requires_python: str = ""
    isolated: bool = False
    environ: Mapping[str, str] = MappingProxyType({})
    library_path: tuple[str, ...] = ()
    profile: str = ""
    base: ProfileSettings | None = None
    engine: str = ""


def read_needs(folder: Path, info: ModuleInfo, *, allow_urls: bool = False) -> Needs:
    """Read a module's requirements without running it.

    Args:
        folder: the module's files.
        info: its metadata.
        allow_urls: whether its requirements may name addresses.
    Raises:
        InstallError: a requirement is invalid; the message says where and why.
    """
    settings = environment_settings(info)
    python_range(info.requires_python, f"requires_python of '{info.name}'")
    requirements = read_requirements(folder, allow_urls=allow_urls)
    engine = "" if settings.profile else settings.engine
    return Needs(
        requirements,
        info.requires_python,
        settings.isolated,
        settings.environ,
        settings.library_path,
        settings.profile or engine_profile(engine),
        engine=engine,
    )


def engine_profile(engine: str, use_gpu: bool = False) -> str:
    """Return the profile that an engine runs in; "" if this Python has its package, or the engine has no profile.

    Args:
        engine: its name.
        use_gpu: whether it computes on a GPU, for which some engines have another package.
    Raises:
        ConfigError: the engine does not exist.
    """
    if not engine or engine == AUTO:
        return ""
    found = engine_class(engine)
    if use_gpu and found.gpu_profile and lacks_gpu_build(found):
        return found.gpu_profile
    return "" if is_installed(engine) else found.profile


def environment_settings(info: ModuleInfo) -> EnvironmentSettings:
    """Read the module's ``environment`` object.

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
    profile = settings.get("profile", "")
    if not isinstance(profile, str):
        raise _wrong(info, "profile", 'the name of an environment profile, like "paddlehub", or "host"')
    engine = settings.get("engine", "")
    if not isinstance(engine, str):
        raise _wrong(info, "engine", 'the name of an engine, like "tensorflow"')
    for name in environ:
        problem = variable_problem(name)
        if problem:
            raise InstallError(f"'{info.name}': its environment sets the variable {name[:60]!r}, which {problem}")
    return EnvironmentSettings(environ, tuple(library_path), isolated, profile, engine)


def variable_problem(name: str) -> str:
    """Return the reason why a module may not set an environment variable, or "" if it may."""
    if name in _RESERVED:
        return "hub itself sets for every instance. Remove it; packages belong in requirements.txt."
    return "" if name and "=" not in name and "\0" not in name else "is not a valid name. Correct it."


def python_range(text: str, what: str) -> "SpecifierSet":
    """Parse a PEP 440 range; an empty text allows any version.

    Raises:
        InstallError: the text is not a range.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(text, prereleases=True)
    except InvalidSpecifier:
        raise InstallError(f"{what} is {text[:60]!r}, which is not a range of versions. Write it like >=3.8,<3.10.") from None


def _wrong(info: ModuleInfo, key: str, wanted: str) -> InstallError:
    return InstallError(f"'{info.name}': {key} of its environment must be {wanted}. Correct it in the module.")
