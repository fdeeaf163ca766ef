"""Environment of a profile, for modules, engines and ``hub env build``; independent of modules."""

from collections.abc import Sequence
from pathlib import Path

from hubserve.registry.environments.environment_record import Environment, all_environments
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.interpreters import find_pythons
from hubserve.registry.environments.profile import Profile, get_profile
from hubserve.registry.environments.provision import Provided, provide
from hubserve.registry.environments.resolve import PYTHONS_CACHE, request_of
from hubserve.registry.progress import Progress, silent


def profile_environment(
    home: Path, name: str, *, packages: Sequence[str] = (), python: str = "", timeout_s: float = 600, progress: Progress = silent
) -> Provided:
    """Return the environment of a profile; build it first if it does not exist.

    Args:
        home: the home.
        name: the profile's.
        packages: requirements in addition to its own.
        python: the Python to use; see :class:`hubserve.registry.environments.python_choice.PythonRequest`.
        timeout_s: how long to wait for another process that builds.
        progress: called with each step.
    Raises:
        ConfigError: the profile does not exist, or its file is invalid.
        InstallError: no Python of this machine fits, or its packages cannot be installed; no environment remains.
    """
    needs = get_profile(home, name).needs
    if packages:
        wanted = needs.requirements
        needs = needs._replace(requirements=wanted._replace(lines=(*wanted.lines, *packages)))
    return provide(home, needs, Options(python=python), timeout_s=timeout_s, progress=progress)


def built_environment(home: Path, profile: Profile) -> Environment | None:
    """Return the environment of a profile's current content, or None if it was not built."""
    built = {request: each for each in all_environments(home) for request in each.requests}
    if not built:
        return None
    pythons = [each for each in find_pythons(home / "cache" / PYTHONS_CACHE) if each.minor in profile.pythons]
    pythons.sort(key=lambda each: profile.pythons.index(each.minor))
    return next((built[request] for each in pythons if (request := request_of(profile.needs, each)) in built), None)
