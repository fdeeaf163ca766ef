"""How an instance is started in the Python of its module: the interpreter, and the variables that the module asks for."""

import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.kinds.base import ModuleInfo
from hubserve.registry.environments.environment_record import Environment, needed_environment
from hubserve.registry.environments.module_requirements import environment_settings

_LIBRARIES = "LD_LIBRARY_PATH"


class Launch(NamedTuple):
    """How an instance is started.

    Attributes:
        python: the interpreter; "" for this one.
        environ: environment variables beside the usual ones.
    """

    python: str = ""
    environ: Mapping[str, str] = MappingProxyType({})


class _Places(NamedTuple):
    module: Path
    environment: Path
    site_packages: Path


def launch(info: ModuleInfo, folder: Path, home: Path, environment: str) -> Launch:
    """How a module is started. In its own words ``${module}``, ``${environment}`` and ``${site_packages}`` stand for these folders.

    Args:
        info: the module's metadata.
        folder: its files.
        home: the home.
        environment: the key of its environment; "" for the host's Python.
    Raises:
        InstallError: the environment is gone, or the module names a library folder that is nowhere.
    """
    environ, library_path, _, _ = environment_settings(info)
    if environment:
        own = needed_environment(home, environment, info.name)
        python, places = str(own.executable), _Places(folder, own.folder, own.site_packages)
        environ, library_path = {**own.environ, **environ}, (*library_path, *own.library_path)
    else:
        python, places = "", _Places(folder, Path(sys.prefix), Path(sysconfig.get_paths()["purelib"]))
    expanded = {name: _expand(value, places) for name, value in environ.items()}
    return Launch(python, with_libraries(expanded, [_library_folder(each, places, info.name) for each in library_path]))


def environment_launch(environment: Environment) -> Launch:
    """Return how to start a process in an environment, without any module."""
    places = _Places(environment.folder, environment.folder, environment.site_packages)
    expanded = {name: _expand(value, places) for name, value in environment.environ.items()}
    folders = [_library_folder(each, places, environment.key) for each in environment.library_path]
    return Launch(str(environment.executable), with_libraries(expanded, folders))


def with_libraries(environ: Mapping[str, str], folders: Iterable[str]) -> dict[str, str]:
    """Environment variables with folders put before ``LD_LIBRARY_PATH``, this process's where they have none."""
    inherited = environ.get(_LIBRARIES, os.environ.get(_LIBRARIES, "")).split(os.pathsep)
    listed = [*folders, *filter(None, inherited)]
    return {**environ, _LIBRARIES: os.pathsep.join(dict.fromkeys(listed))} if listed else dict(environ)


def absolute_folders(folders: Sequence[str], search_path: Sequence[Path]) -> list[str]:
    """A user's folders; a relative one lies in the first of ``search_path`` that has it."""
    found = []
    for each in folders:
        tried = [base / each for base in (*search_path, Path.cwd())]
        found.append(str(next((path for path in tried if path.is_dir()), tried[0]).absolute()))
    return found


def _expand(text: str, places: _Places) -> str:
    for name, folder in places._asdict().items():
        text = text.replace("${" + name + "}", str(folder))
    return text


def _library_folder(text: str, places: _Places, module: str) -> str:
    wanted = Path(_expand(text, places))
    tried = [base / wanted for base in (places.module, places.site_packages, places.environment)]  # an absolute one stays as it is
    for each in tried:
        if each.is_dir():
            return str(each)
    raise InstallError(
        f"'{module}' asks for the library folder '{text}', which is not there: looked at {', '.join(map(str, dict.fromkeys(tried)))}. "
        "Mend library_path in its environment, or add the package that holds it to its requirements.txt."
    )
