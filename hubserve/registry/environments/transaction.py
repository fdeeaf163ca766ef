"""The environment's part in an install: there before the module is imported, and gone again if that comes to nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hubserve.kinds.base import ModuleInfo
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.environments.needs import read_needs
from hubserve.registry.environments.options import Options
from hubserve.registry.progress import Progress


@contextmanager
def provided_environment(
    home: Path, staged: Path, info: ModuleInfo, options: Options | None, settings: InstallSettings, progress: Progress
) -> Iterator[str]:
    """The key of what a staged module runs in, "" for the host's Python. An environment that was built for it goes if the install fails.

    Args:
        home: the home.
        staged: the module's files.
        info: its metadata.
        options: what the user says; nothing where None.
        settings: the bounds of ``hub install``.
        progress: told how far it is.
    Raises:
        InstallError: what the module needs cannot be had; the message says why. Nothing of it is left.
    """
    # what builds is loaded for an install alone, because every command loads this file
    from hubserve.registry.environments.provide import provide
    from hubserve.registry.environments.usage import remove_environment

    options = options or Options()
    needs = read_needs(staged, info, allow_urls=options.allow_urls)
    environment, built = provide(home, needs, options, timeout_s=settings.lock_timeout_s, progress=progress)
    try:
        yield environment.key if environment else ""
    except BaseException:
        if environment and built:
            remove_environment(environment.folder)
        raise
