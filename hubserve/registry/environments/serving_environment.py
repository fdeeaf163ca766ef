"""Which environment a module is served in: what its install chose, or what the server's settings name."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from hubserve.kinds.project_imports import folders_beside
from hubserve.registry.configuration import install_settings
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.module_environment import expected_environment, module_environment
from hubserve.registry.environments.profile import HOST

if TYPE_CHECKING:
    from hubserve.registry.resolve import Resolved

_LOG = logging.getLogger("hubserve")


def serving_environment(home: Path, found: "Resolved", asked: str = "") -> str:
    """Return the key of the environment that a module is served in; "" for the Python of hub.

    What is named is built if it is not there. A module that is served from its folder, and for which nothing is named, gets what an
    install would choose, if that is there.

    Args:
        home: the home.
        found: the module.
        asked: the profile that the settings name, or ``host``; "" for none.
    Raises:
        ConfigError: the profile does not exist.
        InstallError: its packages cannot be had; the message says why.
    """
    info, folder, manifest, beside = found.info, found.version_dir, found.manifest, folders_beside(found.version_dir)
    if not asked and manifest:
        return found.environment
    packages = manifest.chosen.packages if manifest and asked != HOST else ()
    wished = asked or str((info.environment or {}).get("profile", ""))
    options = Options(profile=asked, packages=packages)
    if wished:
        timeout_s = install_settings(home).lock_timeout_s
        decided = module_environment(home, folder, info, options, beside, timeout_s=timeout_s, progress=_Steps(info.name))
        return decided.environment.key if decided.environment else ""
    foreseen = expected_environment(home, folder, info, options, beside)
    if foreseen is None or (not foreseen.profile and not foreseen.lacks):
        return ""
    if foreseen.environment:
        return foreseen.environment.key
    remedy = (
        f'To run it in the profile, name it in its settings, "environment": "{foreseen.profile}", or install the module.'
        if foreseen.profile
        else "It runs in this Python, as far as it goes."
    )
    _LOG.warning("'%s': %s. %s", info.name, "; ".join(foreseen.lacks) or foreseen.why, remedy)
    return ""


class _Steps:
    """Logs the steps of a build, each once."""

    def __init__(self, name: str) -> None:
        self._name, self._last = name, ""

    def __call__(self, step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:  # noqa: ARG002 - the signature of Progress
        step = step.partition(":")[0]
        if step != self._last:
            self._last = step
            _LOG.info("'%s': %s ...", self._name, step)
