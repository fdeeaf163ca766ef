"""The environment's part in an install: there before the module is imported, and gone again if that comes to nothing."""

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
    """The environment of a staged module.

    Attributes:
        key: of its environment; "" for the host's Python.
        chosen: how it was chosen, for the manifest.
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
    """Yield the environment of a staged module. One that was built for it is deleted if the install fails, unless it is a profile's.

    Args:
        home: the home.
        staged: the module's files.
        info: its metadata.
        options: what the user says; nothing where None.
        settings: the bounds of ``hub install``.
        progress: called with each step.
        beside: further folders that its code can import from.
    Raises:
        ConfigError: the profile does not exist.
        InstallError: what the module needs cannot be had; the message says why. Nothing of it is left.
    """
    # what builds is loaded for an install alone, because every command loads this file
    from hubserve.registry.environments.module_environment import module_environment
    from hubserve.registry.environments.usage import remove_environment

    options = options or Options()
    decided = module_environment(home, staged, info, options, beside, timeout_s=settings.lock_timeout_s, progress=progress)
    environment = decided.environment
    chosen = EnvironmentChoice(decided.profile, options.profile, options.packages, decided.why, decided.lacks)
    try:
        yield StagedEnvironment(environment.key if environment else "", chosen)
    except BaseException:
        if environment and decided.built and not decided.shared:
            remove_environment(environment.folder)
        raise
