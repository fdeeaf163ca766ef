"""Environment of a module that is being installed: built before the import check, removed if the install fails."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hubserve.kinds.base import ModuleInfo
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.environments.install_options import Options
from hubserve.registry.manifest import EnvironmentChoice
from hubserve.registry.progress import Progress


class StagedEnvironment(NamedTuple):
    """Environment of a staged module.

    Attributes:
        key: the environment's key; "" for the host's Python.
        chosen: the choice, for the manifest.
    """

    key: str
    chosen: EnvironmentChoice


@contextmanager
def staged_environment(
    home: Path,
    staged: Path,
    info: ModuleInfo,
    options: Options | None,
    settings: InstallSettings,
    progress: Progress,
    beside: Sequence[Path] = (),
) -> Iterator[StagedEnvironment]:
    """Yield the environment of a staged module; if the install fails, delete it if it was built for this module alone.

    Args:
        home: the home.
        staged: the module's files.
        info: its metadata.
        options: the user's; defaults if None.
        settings: the limits of ``hub install``.
        progress: called with each step.
        beside: further folders that its code can import from.
    Raises:
        ConfigError: the profile does not exist.
        InstallError: the module's requirements cannot be met; the message says why. No environment remains.
    """
    # imported only when needed, because every command imports this file
    from hubserve.registry.environments.module_environment import module_environment
    from hubserve.registry.environments.usage import remove_environment

    options = options or Options()
    found = module_environment(home, staged, info, options, beside, timeout_s=settings.lock_timeout_s, progress=progress)
    environment = found.environment
    chosen = EnvironmentChoice(found.profile, options.profile, options.packages, found.why, found.lacks)
    try:
        yield StagedEnvironment(environment.key if environment else "", chosen)
    except BaseException:
        if environment and found.built and not found.shared:
            remove_environment(environment.folder)
        raise
