"""Checks that modules, model stores and environments of a configuration exist."""

from collections.abc import Iterator

from hubserve.doctor.config.subject import Config
from hubserve.doctor.findings import ERROR, NOTE, Finding, from_error
from hubserve.doctor.stores import examine_store
from hubserve.errors import HubError
from hubserve.paths import home
from hubserve.registry.configuration import install_settings
from hubserve.registry.environments.profile import HOST, get_profile
from hubserve.registry.remotes import open_remote
from hubserve.registry.resolve import resolve


def check_modules(config: Config) -> Iterator[Finding]:
    """Check that the modules are installed, in the requested versions, under these names."""
    for name, module in config.modules.items():
        key = "directory" if module.init_args.get("directory") else "version" if module.init_args.get("version") else ""
        about = f"modules_info.{name}" + (f".init_args.{key}" if key else "")
        if address := config.unasked(name):
            try:
                shown = open_remote(address, install_settings(home())).shown
            except HubError as error:
                yield from_error(error, about, "Correct the address", str(config.path))
            else:
                yield config.finding(NOTE, about, f"{shown} was not checked", "hub doctor --network CONFIG fetches it")
            continue
        try:
            found = resolve(config.reference(name))
        except HubError as error:
            yield from_error(error, about, "Install it: hub install FOLDER_OR_ARCHIVE", str(config.path))
            continue
        if found.info.name != name:
            reason = f"the name of this module is '{found.info.name}'"
            yield config.finding(ERROR, f"modules_info.{name}", reason, f"Use '{found.info.name}' as the key")


def check_stores(config: Config) -> Iterator[Finding]:
    """Check that the model stores can be read and hold models."""
    for index, store in enumerate(config.settings.model_store):
        for found in examine_store(store, [config.folder], network=config.network):
            yield config.finding(found.level, f"model_store.{index}", found.reason, found.fix)


def check_environments(config: Config) -> Iterator[Finding]:
    """Check that the environment profiles of the modules exist and are readable."""
    for name, module in config.modules.items():
        if module.environment not in ("", HOST):
            try:
                get_profile(home(), module.environment)
            except HubError as error:
                remedy = f"Name a profile that 'hub env list' shows, or '{HOST}'"
                yield from_error(error, f"modules_info.{name}.environment", remedy, str(config.path))
