"""Find the modules and models of a configuration, and bring them to another machine."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from hubserve.errors import ConfigError, HubError
from hubserve.gateway.dataplane import ModulePlan
from hubserve.gateway.triton_deployment import plan_stores
from hubserve.kinds.model_file import KIND as MODEL
from hubserve.kinds.model_file import all_files
from hubserve.kinds.tiinfer.kind import KIND as TIINFER
from hubserve.kinds.triton.model_folder import KIND as TRITON
from hubserve.paths import home
from hubserve.registry.archives.copying import copy_folder
from hubserve.registry.archives.outside_files import find_assets
from hubserve.registry.archives.packing import pack
from hubserve.registry.bundles.build import SUFFIX, make_bundle
from hubserve.registry.configuration import install_settings
from hubserve.registry.environments.environment_record import Environment, environments_dir, get_environment, read_record
from hubserve.registry.environments.install_options import PROFILES_FOLDER
from hubserve.registry.environments.serving_environment import serving_environment
from hubserve.registry.installed import Installed, InstalledModules
from hubserve.registry.model_store import find_models, store_folders
from hubserve.registry.progress import Progress
from hubserve.registry.remotes import extra_of, is_remote
from hubserve.registry.remotes.secrets import VARIABLES
from hubserve.registry.resolve import Resolved, resolve
from hubserve.server.deployment import reference_of
from hubserve.server.remote_modules import refresh_stores, wanted_at_start
from hubserve.settings import ServerSettings

BUNDLE = f"modules{SUFFIX}"


@dataclass
class Found:
    """Modules of a configuration.

    Attributes:
        names: what is served.
        installed: installed modules, which travel in one bundle with the wheels of their environments.
        packed: folders of modules, which travel as archives and are installed: name -> the module.
        copied: models that are served from their files or folders: name -> the model.
        stores: model stores: name of the folder there -> folder here.
        remote_stores: addresses of model stores, which the server there reads itself.
        init_args: what selects each module there; ``{models}`` stands for the folder of models.
        installed_with: modules whose environment the install chooses -> the profile that it is given, or "".
        profiles: environment profiles that models are computed in.
        environments: environments that modules run in.
        host_folders: folders of modules that run in the Python of hubserve itself.
    """

    names: list[str] = field(default_factory=list)
    installed: list[Installed] = field(default_factory=list)
    packed: dict[str, Resolved] = field(default_factory=dict)
    copied: dict[str, Resolved] = field(default_factory=dict)
    stores: dict[str, Path] = field(default_factory=dict)
    remote_stores: list[str] = field(default_factory=list)
    init_args: dict[str, Mapping[str, str]] = field(default_factory=dict)
    installed_with: dict[str, str] = field(default_factory=dict)
    profiles: list[str] = field(default_factory=list)
    environments: list[Environment] = field(default_factory=list)
    host_folders: list[Path] = field(default_factory=list)

    def install_commands(self, folder: str, hub: str = "hub") -> list[str]:
        """Return the commands that install everything from a folder.

        Args:
            folder: holds what :meth:`write` wrote to ``modules``.
            hub: the command.
        """
        allows_http = self.remote_stores and install_settings(home()).allow_http
        commands = [f"{hub} config install.allow_http==true"] if allows_http else []
        commands += [f"{hub} env build {each}" for each in self.profiles]
        if self.installed:
            commands.append(f"{hub} install {folder}/{BUNDLE}")
        for name, module in self.packed.items():
            chosen = f" --environment {profile}" if (profile := self.installed_with.get(name)) else ""
            commands.append(f"{hub} install {folder}/{_archive_name(module)}{chosen}")
        return commands

    @property
    def extras(self) -> set[str]:
        """Extras of hubserve that read the remote stores."""
        return {extra for each in self.remote_stores if (extra := extra_of(each))}

    @property
    def variables(self) -> list[str]:
        """Environment variables that may hold credentials for the remote stores."""
        return [name for extra in sorted(self.extras) for name in VARIABLES.get(extra, ())]

    @property
    def other_pythons(self) -> list[str]:
        """Minor versions of the Pythons of environments."""
        return sorted({".".join(each.python.split(".")[:2]) for each in self.environments})

    def write(self, folder: Path, progress: Progress, notes: list[str]) -> None:
        """Write ``modules`` (what is installed), ``models`` (what is served from its folder) and ``profiles`` of the user.

        Raises:
            HubError: something cannot be packed or copied.
        """
        for each in ("modules", "models", "profiles"):
            (folder / each).mkdir()
            (folder / each / ".keep").touch()  # COPY needs the folder, and git keeps no empty one
        if self.installed:
            notes += make_bundle(home(), self.installed, folder / "modules" / BUNDLE, progress).notes
        for module in self.packed.values():
            source = module.version_dir / module.manifest.source_folder if module.manifest and module.manifest.source_folder else None
            assets = find_assets(module.version_dir, source)
            notes += [f"'{module.info.name}' names '{each}', which is of this machine only and left out" for each in assets.fixed]
            pack(module.version_dir, folder / "modules" / _archive_name(module), progress, assets)
        for name, module in self.copied.items():
            _copy_model(module, folder / "models" / name, progress)
        for name, store in self.stores.items():
            (folder / "models" / name).mkdir()
            copy_folder(store, folder / "models" / name, install_settings(home()), progress, follow_links=True)
        for name in self.profiles:
            own = home() / PROFILES_FOLDER / f"{name}.json"
            if own.is_file():
                shutil.copyfile(own, folder / "profiles" / own.name)


def find_modules(settings: ServerSettings, search_path: Sequence[Path], notes: list[str]) -> Found:
    """Find every module and store of a configuration.

    Args:
        settings: the configuration.
        search_path: folders in which relative paths are looked up.
        notes: sentences are added for what cannot be served.
    Raises:
        HubError: a module cannot be found, or its environment is not built.
    """
    found = Found()
    found.remote_stores = [each for each in settings.model_store if is_remote(each)]
    settings = _with_readable_stores(settings, notes)
    stores = store_folders(settings.model_store, search_path)
    stored = find_models(stores)
    for number, store in enumerate(store_folders([each for each in settings.model_store if not is_remote(each)], search_path)):
        found.stores[store.name if store.name not in found.stores else f"{store.name}-{number}"] = store
    for plan in plan_stores(settings, search_path):
        _add_stored(found, plan, notes)
    for name, module in settings.modules_info.items():
        if name in stored and not module.init_args:
            continue
        found.names.append(name)
        resolved = resolve(reference_of(name, module.init_args, search_path))
        key = serving_environment(home(), resolved, module.environment, build=settings.build_environments)
        environment = get_environment(home(), key) if key else None
        if environment and environment not in found.environments:
            found.environments.append(environment)
        if environment is None:
            found.host_folders.append(resolved.version_dir)
        _add_module(found, name, resolved, environment, module.environment)
    return found


def _with_readable_stores(settings: ServerSettings, notes: list[str]) -> ServerSettings:
    """Return the settings without the remote stores whose models are not known here, for which sentences are added."""
    readable = []
    for store in settings.model_store:
        try:
            refresh_stores([store], wanted_at_start(settings))
            readable.append(store)
        except ConfigError as error:
            notes.append(f"the environments of its models are not in the export, because {error.message.rstrip('.')}")
    if len(readable) == len(settings.model_store):
        return settings
    return msgspec.structs.replace(settings, model_store=readable, load_model=[])


def _add_module(found: Found, name: str, resolved: Resolved, environment: Environment | None, requested: str) -> None:
    if resolved.manifest is not None and not (requested and environment):
        installed = InstalledModules().get(resolved.info.name, resolved.info.version)
        if installed.folder not in [each.folder for each in found.installed]:
            found.installed.append(installed)
        found.init_args[name] = {"version": resolved.info.version}
        found.installed_with[name] = ""
    elif resolved.info.kind in (MODEL, TIINFER, TRITON) and resolved.manifest is None:
        found.copied[name] = resolved
        inside = f"/{resolved.folder.name}" if resolved.folder.is_file() else ""
        found.init_args[name] = {"directory": f"{{models}}/{name}{inside}"}
        _add_profile(found, environment)
    else:
        found.packed[name] = resolved
        found.init_args[name] = {"version": resolved.info.version}
        found.installed_with[name] = environment.profile if environment else requested


def _add_stored(found: Found, plan: ModulePlan, notes: list[str]) -> None:
    name = plan.info.name
    if plan.error:
        notes.append(f"the model '{name}' cannot be served here, and will not be there: {plan.error}")
        return
    if name not in found.names:
        found.names.append(name)
    for python in {Path(spec.python) for spec in plan.instances if spec.python}:
        if environments_dir(home()) in python.parents:
            environment = read_record(python.parent.parent)
            if environment and environment not in found.environments:
                found.environments.append(environment)
            _add_profile(found, environment)


def _add_profile(found: Found, environment: Environment | None) -> None:
    if environment and environment.profile and environment.profile not in found.profiles:
        found.profiles.append(environment.profile)


def _archive_name(module: Resolved) -> str:
    return f"{module.info.name}-{module.info.version}.tar.gz"


def _copy_model(module: Resolved, target: Path, progress: Progress) -> None:
    target.mkdir()
    if module.folder.is_dir():
        copy_folder(module.folder, target, install_settings(home()), progress, follow_links=True)
        return
    for each in all_files(module.folder):
        path = target / each.relative_to(module.folder.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(each, path)
        except OSError as error:
            raise HubError(f"cannot copy '{each}': {error.strerror}. Make it readable and export again.") from error
