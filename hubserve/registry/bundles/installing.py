"""Installs the modules of a bundle; nothing is fetched."""

from collections.abc import Iterator
from pathlib import Path

from hubserve.errors import HubError, InstallError
from hubserve.registry.bundles.opening import opened
from hubserve.registry.configuration import install_settings
from hubserve.registry.environments.options import Options
from hubserve.registry.origin import Origin
from hubserve.registry.progress import Progress, silent
from hubserve.registry.sources import Fetched
from hubserve.registry.store import Installed, Store


def install_bundle(
    store: Store, bundle: Path, *, check: bool = True, options: Options | None = None, progress: Progress = silent
) -> Iterator[Installed]:
    """Install the modules of a bundle one after the other; each is a transaction of its own.

    Args:
        store: where to.
        bundle: the file.
        check: import each module once in a process of its own first.
        options: what the user says of their environments.
        progress: told how far it is.
    Returns:
        What was installed, as it is.
    Raises:
        InstallError: the bundle is damaged, or a module could not be installed: it and those behind it are not.
    """
    bundle = bundle.expanduser().absolute()
    with opened(bundle, store.tmp, install_settings(store.home), progress) as found:
        modules = found.contents.modules
        for done, module in enumerate(modules):
            origin = Origin(
                f"{bundle}#{module.name}", {"kind": "bundle", "sha256": module.archive.sha256}, module.name, module.version, is_local=False
            )
            environment = (options or Options())._replace(wheels=found.wheels(module))
            try:
                yield store.install_found(Fetched(found.archive(module), origin), progress=progress, check=check, environment=environment)
            except HubError as error:
                if len(modules) > 1:
                    missing = ", ".join(each.name for each in modules[done:])
                    raise InstallError(f"{error.message} Not installed: {missing}.", error.detail) from error
                raise
