"""Provide the Python that requirements call for: the host's if it meets them, else an environment, built if it does not exist."""

from pathlib import Path
from typing import NamedTuple

from hubserve.registry.environments.build import build
from hubserve.registry.environments.environment_record import Environment, write_record
from hubserve.registry.environments.host_compat import why_not_host
from hubserve.registry.environments.import_probe import failed_imports
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.module_requirements import Needs, ProfileSettings
from hubserve.registry.environments.resolve import Resolution, environment_label, package_index, resolve
from hubserve.registry.environments.tools import scratch_tool
from hubserve.registry.environments.tools.base import Order
from hubserve.registry.progress import LASTING, Progress


class Provided(NamedTuple):
    """Result of :func:`provide`.

    Attributes:
        environment: None for the host's Python.
        built: whether the environment was built now.
    """

    environment: Environment | None = None
    built: bool = False


def provide(home: Path, needs: Needs, options: Options, *, timeout_s: float, progress: Progress) -> Provided:
    """Return an environment that meets requirements, building it if needed, or the host's Python if that suffices.

    Args:
        home: the home.
        needs: a module's, or a profile's.
        options: the user's.
        timeout_s: how long to wait for another process that builds.
        progress: called with each step.
    Raises:
        InstallError: no Python fits, or the packages cannot be resolved or installed; the message has the tool's reason. No environment
            remains.
        OSError: the disk is full, or the home cannot be written; likewise.
    """
    if not why_not_host(needs, options):
        return Provided()
    return provide_resolved(home, resolve(home, needs, options, progress), options, timeout_s=timeout_s, progress=progress)


def provide_resolved(home: Path, resolution: Resolution, options: Options, *, timeout_s: float, progress: Progress) -> Provided:
    """Build the environment of resolved packages unless it exists.

    Args, Raises: as :func:`provide`.
    """
    if resolution.known:
        return Provided(resolution.known)
    needs, python, lock = resolution.needs, resolution.python, resolution.lock
    wanted = needs.requirements
    order = Order([*wanted.options, *lock.pins], (), wanted.links, package_index(options))
    if needs.base and needs.base.size_mb:
        # announced first, because it may take long
        is_for_cpu = needs.base.size_cpu_mb and any(each.endswith("+cpu") for each in lock.pins)
        size_mb = needs.base.size_cpu_mb if is_for_cpu else needs.base.size_mb
        progress(f"{LASTING}{environment_label(needs)} once, for all that use it: about {size_mb / 1000:.1f} GB, in {home}")
    with scratch_tool(home, progress) as tool:
        environment, built = build(
            home, lock, python, tool, order, timeout_s=timeout_s, progress=progress, request=resolution.request, base=needs.base
        )
    if built and needs.base:
        environment = _probed(home, environment, needs.base, progress)
    if resolution.request not in environment.requests:
        environment = environment._replace(requests=(*environment.requests, resolution.request))
        write_record(environment)
    return Provided(environment, built)


def _probed(home: Path, environment: Environment, base: ProfileSettings, progress: Progress) -> Environment:
    """Import the names that a profile provides once, to record those that fail and to compile the files of the others."""
    progress("importing its packages once")
    broken = failed_imports(home, environment, base.imports)
    if base.extended or not broken:  # the module's own packages may have replaced the profile's
        return environment
    environment = environment._replace(broken=broken)
    write_record(environment)
    return environment
