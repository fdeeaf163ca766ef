"""Environment that a module is served in: the choice of its install, or the server's settings."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from hubserve.kinds.project_imports import folders_beside
from hubserve.registry.configuration import install_settings
from hubserve.registry.environments.engine_environment import BuildLog, not_built
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.module_environment import expected_environment, module_environment
from hubserve.registry.environments.module_requirements import environment_settings
from hubserve.registry.environments.profile import HOST, get_profile

if TYPE_CHECKING:
    from hubserve.registry.resolve import Resolved

_LOG = logging.getLogger("hubserve")


def serving_environment(home: Path, found: "Resolved", requested: str = "", *, build: bool = False) -> str:
    """Return the key of the environment that a module is served in; "" for the Python of hub.

    A named profile is built if it does not exist. A module that is served from its folder without a named profile gets the environment that
    an install would choose, if that exists; a model file cannot do without the one of its engine.

    Args:
        home: the home.
        found: the module.
        requested: the profile named in the settings, or ``host``; "" for none.
        build: whether to build the environment of an engine if it does not exist.
    Raises:
        ConfigError: the profile does not exist.
        InstallError: its packages cannot be installed; the message says why. Or an engine's environment does not exist, and ``build`` is
            not set.
    """
    info, folder, manifest, beside = found.info, found.version_dir, found.manifest, folders_beside(found.version_dir)
    if not requested and manifest:
        return found.environment
    packages = manifest.chosen.packages if manifest and requested != HOST else ()
    wanted = requested or str((info.environment or {}).get("profile", ""))
    options = Options(profile=requested, packages=packages)
    expected = None if wanted else expected_environment(home, folder, info, options, beside)
    engine = environment_settings(info).engine
    lacks_engine = bool(engine and expected and expected.profile and not expected.environment)
    if lacks_engine and expected and not build:
        raise not_built(home, engine, get_profile(home, expected.profile), f"'{info.name}'")
    if wanted or lacks_engine:
        timeout_s = install_settings(home).lock_timeout_s
        built = module_environment(home, folder, info, options, beside, timeout_s=timeout_s, progress=BuildLog(f"'{info.name}'"))
        return built.environment.key if built.environment else ""
    if expected is None or (not expected.profile and not expected.lacks):
        return ""
    if expected.environment:
        return expected.environment.key
    remedy = (
        f'To run it in the profile, name it in its settings, "environment": "{expected.profile}", or install the module.'
        if expected.profile
        else "It runs in this Python, as far as it goes."
    )
    _LOG.warning("'%s': %s. %s", info.name, "; ".join(expected.lacks) or expected.why, remedy)
    return ""
