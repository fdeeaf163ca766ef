"""Installs the modules of a bundle; nothing is fetched."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hubserve.errors import ConfigError, HubError, InstallError
from hubserve.registry.configuration import install_settings
from hubserve.registry.environments.install_options import FOLDER_NAME, Options
from hubserve.registry.install.bundles.unpack import opened
from hubserve.registry.progress import Progress, silent
from hubserve.registry.provenance import Origin
from hubserve.registry.sources import Fetched
from hubserve.registry.store import Installed, Store


def _add_profile(home: Path, name: str, brought: Mapping[str, Any]) -> Path | None:
    """Add an environment profile that this home lacks; returns its file, None where there was nothing to add.

    Raises:
        InstallError: what the bundle has cannot be used.
    """
    path = home / FOLDER_NAME / f"{name}.json"
    if name not in brought or path.exists():
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(brought[name], indent=2) + "\n", "utf-8")
    try:
        # loaded where a bundle brings one
        from hubserve.registry.environments.profile import read_profile

        read_profile(path)
    except ConfigError as error:
        path.unlink()
        raise InstallError(f"the bundle cannot be used: {error.message}") from error
    return path


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
            environment = found.options(module, options or Options())
            added = _add_profile(store.home, environment.profile, found.contents.profiles)
            try:
                yield store.install_found(Fetched(found.archive(module), origin), progress=progress, check=check, environment=environment)
            except HubError as error:
                if added:
                    added.unlink()
                if len(modules) > 1:
                    missing = ", ".join(each.name for each in modules[done:])
                    raise InstallError(f"{error.message} Not installed: {missing}.", error.detail) from error
                raise
