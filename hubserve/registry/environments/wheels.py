"""Environments for machines without a network: their packages as a folder of wheels, and back."""

from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.environments.build import attempt, build
from hubserve.registry.environments.environment_record import Environment, get_environment
from hubserve.registry.environments.interpreters import Python
from hubserve.registry.environments.package_lock import make_lock
from hubserve.registry.environments.python_choice import PythonRequest, choose_python
from hubserve.registry.environments.resolve import PYTHONS_CACHE, scratch_tool
from hubserve.registry.environments.tools.base import Order
from hubserve.registry.environments.tools.package_index import index_settings, only_folder
from hubserve.registry.environments.tools.pip import Pip
from hubserve.registry.progress import Progress, silent


class Portable(NamedTuple):
    """What another machine needs to know of an environment to build it from wheels.

    Attributes:
        pins: its packages.
        python: the version of its Python; another of the same minor version will do, because wheels are made for those.
        platform: what the wheels are for.
    """

    pins: tuple[str, ...]
    python: str
    platform: str


def download_wheels(home: Path, key: str, folder: Path, *, links: tuple[Path, ...] = (), progress: Progress = silent) -> Portable:
    """Put a wheel of every package of an environment into a folder; those that have only sources are built.

    Args:
        home: the home.
        key: the environment's.
        folder: where to; made if it is missing.
        links: folders with packages beside the user's index, such as those that the module itself brings.
        progress: told how far it is.
    Returns:
        What :func:`build_from_wheels` needs beside the folder.
    Raises:
        ModuleNotFound: there is no such environment.
        InstallError: a package cannot be had any more; the message says why.
    """
    environment = get_environment(home, key)
    python = Python(environment.base, environment.python, environment.platform)
    folder.mkdir(parents=True, exist_ok=True)
    order = Order(environment.pins, (), links, index_settings())
    with scratch_tool(home, progress, Pip) as tool:
        assert isinstance(tool, Pip), "it was asked for"
        attempt(lambda: tool.wheels(python, folder.absolute(), order), "cannot be packed")
    return Portable(environment.pins, environment.python, environment.platform)


def build_from_wheels(
    home: Path, portable: Portable, folder: Path, *, timeout_s: float = 600, progress: Progress = silent
) -> tuple[Environment, bool]:
    """Make an environment from a folder of wheels; no index is asked.

    Args:
        home: the home.
        portable: what :func:`download_wheels` returned.
        folder: the wheels.
        timeout_s: how long to wait for another process that builds.
        progress: told how far it is.
    Returns:
        The environment, and whether it was made now.
    Raises:
        InstallError: this machine has no such Python or is of another platform, or a wheel is missing; nothing of it is left.
    """
    minor = ".".join(portable.python.split(".")[:2])
    python = choose_python(PythonRequest(user=minor), home / "cache" / PYTHONS_CACHE)
    if python.platform != portable.platform:
        raise InstallError(
            f"the packages are made for {portable.platform}, and this is {python.platform}. Make the bundle on such a machine."
        )
    lock = make_lock((pin.split(" @ ")[0] for pin in portable.pins), python)
    order = Order(lock.pins, source=only_folder(folder.absolute()))
    with scratch_tool(home, progress) as tool:
        return build(home, lock, python, tool, order, timeout_s=timeout_s, progress=progress)
