"""Interpreter and environment variables to start a module's instance with."""

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
    """Interpreter and environment variables of an instance.

    Attributes:
        python: the interpreter; "" for this one.
        environ: additional environment variables.
    """

    python: str = ""
    environ: Mapping[str, str] = MappingProxyType({})


class _Folders(NamedTuple):
    module: Path
    environment: Path
    site_packages: Path


def launch(info: ModuleInfo, folder: Path, home: Path, environment: str) -> Launch:
    """Return how to start a module, with ``${module}``, ``${environment}`` and ``${site_packages}`` in its settings replaced by folders.

    Args:
        info: the module's metadata.
        folder: its files.
        home: the home.
        environment: the key of its environment; "" for the host's Python.
    Raises:
        InstallError: the environment is missing, or the module names a library folder that does not exist.
    """
    environ, library_path, *_ = environment_settings(info)
    if environment:
        own = needed_environment(home, environment, info.name)
        python, folders = str(own.executable), _Folders(folder, own.folder, own.site_packages)
        environ, library_path = {**own.environ, **environ}, (*library_path, *own.library_path)
    else:
        python, folders = "", _Folders(folder, Path(sys.prefix), Path(sysconfig.get_paths()["purelib"]))
    expanded = {name: _expand(value, folders) for name, value in environ.items()}
    return Launch(python, with_libraries(expanded, [_library_folder(each, folders, info.name) for each in library_path]))


def environment_launch(environment: Environment) -> Launch:
    """Return how to start a process in an environment, without a module."""
    folders = _Folders(environment.folder, environment.folder, environment.site_packages)
    expanded = {name: _expand(value, folders) for name, value in environment.environ.items()}
    libraries = [_library_folder(each, folders, environment.key) for each in environment.library_path]
    return Launch(str(environment.executable), with_libraries(expanded, libraries))


def with_libraries(environ: Mapping[str, str], folders: Iterable[str]) -> dict[str, str]:
    """Return environment variables with folders put before ``LD_LIBRARY_PATH``, theirs or else this process's."""
    inherited = environ.get(_LIBRARIES, os.environ.get(_LIBRARIES, "")).split(os.pathsep)
    listed = [*folders, *filter(None, inherited)]
    return {**environ, _LIBRARIES: os.pathsep.join(dict.fromkeys(listed))} if listed else dict(environ)


def absolute_folders(folders: Sequence[str], search_path: Sequence[Path]) -> list[str]:
    """Make a user's folders absolute; a relative one is looked up in ``search_path``, then in the working directory."""
    found = []
    for each in folders:
        tried = [base / each for base in (*search_path, Path.cwd())]
        found.append(str(next((path for path in tried if path.is_dir()), tried[0]).absolute()))
    return found


def _expand(text: str, folders: _Folders) -> str:
    for name, folder in folders._asdict().items():
        text = text.replace("${" + name + "}", str(folder))
    return text


def _library_folder(text: str, folders: _Folders, module: str) -> str:
    wanted = Path(_expand(text, folders))
    tried = [base / wanted for base in (folders.module, folders.site_packages, folders.environment)]  # an absolute one stays as it is
    for each in tried:
        if each.is_dir():
            return str(each)
    raise InstallError(
        f"'{module}' names the library folder '{text}', which does not exist; searched: {', '.join(map(str, dict.fromkeys(tried)))}. "
        "Correct library_path in its environment, or add the package that contains it to its requirements.txt."
    )
