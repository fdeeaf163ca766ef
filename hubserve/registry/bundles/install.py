"""Install the modules of a bundle, without fetching anything."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hubserve.errors import ConfigError, HubError, InstallError
from hubserve.registry.bundles.open import open_bundle
from hubserve.registry.configuration import install_settings
from hubserve.registry.environments.install_options import PROFILES_FOLDER, Options
from hubserve.registry.install.transaction import InstallResult
from hubserve.registry.installer import Installer
from hubserve.registry.progress import Progress, silent
from hubserve.registry.provenance import Origin
from hubserve.registry.sources import Fetched


def _add_profile(home: Path, name: str, profiles: Mapping[str, Any]) -> Path | None:
    """Add an environment profile of the bundle that this home lacks; return its file, or None if nothing was added.

    Raises:
        InstallError: the profile in the bundle is invalid.
    """
    path = home / PROFILES_FOLDER / f"{name}.json"
    if name not in profiles or path.exists():
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(profiles[name], indent=2) + "\n", "utf-8")
    try:
        # loaded only where a bundle has one
        from hubserve.registry.environments.profile import read_profile

        read_profile(path)
    except ConfigError as error:
        path.unlink()
        raise InstallError(f"the bundle cannot be used: {error.message}") from error
    return path


def install_bundle(
    installer: Installer, bundle: Path, *, check: bool = True, options: Options | None = None, progress: Progress = silent
) -> Iterator[InstallResult]:
    """Install the modules of a bundle one after the other, each in a transaction of its own.

    Args:
        installer: of the home to install into.
        bundle: the file.
        check: import each module once in a process of its own first.
        options: the user's options for their environments.
        progress: called as it proceeds.
    Yields:
        Each module, when it is installed.
    Raises:
        InstallError: the bundle is damaged, or a module could not be installed; it and those after it are not installed.
    """
    bundle = bundle.expanduser().absolute()
    home = installer.home
    with open_bundle(bundle, home / "tmp", install_settings(home), progress) as found:
        modules = found.contents.modules
        for done, module in enumerate(modules):
            origin = Origin(
                f"{bundle}#{module.name}", {"kind": "bundle", "sha256": module.archive.sha256}, module.name, module.version, is_local=False
            )
            environment = found.options(module, options or Options())
            added = _add_profile(home, environment.profile, found.contents.profiles)
            try:
                yield installer.install_fetched(
                    Fetched(found.archive(module), origin), progress=progress, check=check, environment=environment
                )
            except HubError as error:
                if added:
                    added.unlink()
                if len(modules) > 1:
                    missing = ", ".join(each.name for each in modules[done:])
                    raise InstallError(f"{error.message} Not installed: {missing}.", error.detail) from error
                raise
