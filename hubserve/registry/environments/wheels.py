"""Export an environment as a folder of wheels, and build it from them on a machine without a network."""

from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.environments.build import build
from hubserve.registry.environments.environment_record import Environment, get_environment
from hubserve.registry.environments.interpreters import Python
from hubserve.registry.environments.package_lock import make_lock
from hubserve.registry.environments.python_choice import PythonRequest, choose_python
from hubserve.registry.environments.resolve import PYTHONS_CACHE
from hubserve.registry.environments.tools import scratch_tool
from hubserve.registry.environments.tools.base import Order
from hubserve.registry.environments.tools.package_index import index_settings, only_folder
from hubserve.registry.environments.tools.pip import Pip
from hubserve.registry.environments.tools.process import install_errors
from hubserve.registry.progress import Progress, silent


class Portable(NamedTuple):
    """Description of an environment that another machine builds from wheels.

    Attributes:
        pins: its packages.
        python: the version of its Python; only the minor version must match, because wheels depend on that.
        platform: platform of the wheels.
    """

    pins: tuple[str, ...]
    python: str
    platform: str


def download_wheels(home: Path, key: str, folder: Path, *, links: tuple[Path, ...] = (), progress: Progress = silent) -> Portable:
    """Put a wheel of every package of an environment into a folder; packages without one are built from source.

    Args:
        home: the home.
        key: the environment's.
        folder: target folder; created if it does not exist.
        links: folders with packages in addition to the user's index, such as the module's own.
        progress: called with each step.
    Returns:
        The description that :func:`build_from_wheels` takes.
    Raises:
        ModuleNotFound: the environment does not exist.
        InstallError: a package is no longer available; the message says why.
    """
    environment = get_environment(home, key)
    python = Python(environment.base, environment.python, environment.platform)
    folder.mkdir(parents=True, exist_ok=True)
    order = Order(environment.pins, (), links, index_settings())
    with scratch_tool(home, progress, Pip) as tool:
        assert isinstance(tool, Pip), "the requested class"
        with install_errors("cannot be packed"):
            tool.wheels(python, folder.absolute(), order)
    return Portable(environment.pins, environment.python, environment.platform)


def build_from_wheels(
    home: Path, portable: Portable, folder: Path, *, timeout_s: float = 600, progress: Progress = silent
) -> tuple[Environment, bool]:
    """Build an environment from a folder of wheels, without an index.

    Args:
        home: the home.
        portable: the result of :func:`download_wheels`.
        folder: the wheels.
        timeout_s: how long to wait for another process that builds.
        progress: called with each step.
    Returns:
        The environment, and whether it was built now.
    Raises:
        InstallError: this machine lacks the Python or has another platform, or a wheel is missing; no environment remains.
    """
    minor = ".".join(portable.python.split(".")[:2])
    python = choose_python(PythonRequest(user=minor), home / "cache" / PYTHONS_CACHE)
    if python.platform != portable.platform:
        raise InstallError(
            f"the packages are for {portable.platform}, and this machine is {python.platform}. Make the bundle on such a machine."
        )
    lock = make_lock((pin.split(" @ ")[0] for pin in portable.pins), python)
    order = Order(lock.pins, source=only_folder(folder.absolute()))
    with scratch_tool(home, progress) as tool:
        return build(home, lock, python, tool, order, timeout_s=timeout_s, progress=progress)
