"""Plan the deployment of modules from the settings: folders, instances, devices, threads."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hubserve.engines.gpus import HIDDEN, VISIBLE, why_no_gpu
from hubserve.engines.model_formats import FORMATS
from hubserve.errors import ConfigError, ModuleNotFound
from hubserve.gateway.dataplane import ModulePlan
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.scheduling.batcher import BatchSettings
from hubserve.gateway.triton_deployment import own_environ, plan_model, plan_stores
from hubserve.gateway.triton_scheduling import own_policies
from hubserve.kinds import get_kind
from hubserve.kinds.model_file import KIND as MODEL
from hubserve.kinds.model_settings import computes_on_gpu
from hubserve.kinds.removed_names import VARIABLE as OLD_NAMES_VARIABLE
from hubserve.kinds.tiinfer.fetching import VARIABLE as ADDRESSES_VARIABLE
from hubserve.kinds.tiinfer.kind import KIND as TIINFER
from hubserve.kinds.triton.model_folder import KIND as TRITON
from hubserve.paths import home
from hubserve.registry.environments.launch import launch
from hubserve.registry.environments.serving_environment import serving_environment
from hubserve.registry.model_store import find_models, store_folders
from hubserve.registry.remotes import is_remote
from hubserve.registry.resolve import Resolved, each_model, named_file, resolve
from hubserve.server.remote_modules import copy_folder, local_reference, refresh_stores, wanted_at_start
from hubserve.settings import ModuleSettings, ServerSettings

log = logging.getLogger("hubserve")

#: arguments that determine which folder is loaded, and are not passed to the module
LOCATING = ("directory", "version", "name")
#: kinds of modules that may have any name while they are not installed
_NAMED_FREELY = (MODEL, TIINFER)


def make_plans(settings: ServerSettings, search_path: Sequence[Path] = (), only: str | None = None) -> list[ModulePlan]:
    """Find every module of the settings and plan its instances.

    Args:
        settings: the server's.
        search_path: folders in which relative model paths are looked up first, such as the configuration file's.
        only: plan only the module of this name.
    Raises:
        ModuleNotFound: a module or version is not installed.
        LoadFailed: a folder is not a module.
        ConfigError: a module has another name, or a GPU is requested without saying which.
    """
    if only is None:
        refresh_stores(settings.model_store, wanted_at_start(settings))
    stored = find_models(store_folders(settings.model_store, search_path))
    plans = plan_stores(settings, search_path, only)
    for name, module in settings.modules_info.items():
        if only not in (None, name) or (name in stored and not module.init_args):
            continue
        resolved = resolve(reference_of(name, module.init_args, search_path))
        init_args = {key: value for key, value in module.init_args.items() if key not in LOCATING}
        if resolved.info.kind in _NAMED_FREELY and resolved.manifest is None:
            resolved = resolved._replace(info=resolved.info._replace(name=name), import_name=name)
        if resolved.info.name != name:
            raise ConfigError(f"modules_info.{name}: the module found there is called '{resolved.info.name}'; use that name as the key")
        resolved = resolved._replace(
            environment=serving_environment(home(), resolved, module.environment, build=settings.build_environments)
        )
        if resolved.info.kind == TRITON:
            _refuse_init_args(name, init_args)
            launched = launch(resolved.info, resolved.version_dir, home(), resolved.environment)
            plans += plan_model(resolved.version_dir, settings, name, None, launched, [*search_path, *resolved.search_path])
            continue
        on_gpu = _on_gpu(settings, name, resolved, init_args)
        if init_args.get("use_gpu") and settings.computes_on_cpu_instead(name):
            log.warning("'%s' asks for a GPU and computes on the CPU, as gpu_fallback says: %s", name, why_no_gpu())
            on_gpu, init_args = False, {**init_args, **{key: False for key in ("use_gpu", "use_tensorrt") if key in init_args}}
        gpus = settings.gpus(name) if on_gpu else []
        count = settings.instance_count(name, resolved.info.batches, _asked_instances(resolved, module), on_cpu=not on_gpu)
        instances = [_instance_spec(settings, name, resolved, init_args, search_path, index, count, gpus) for index in range(count)]
        batching = BatchSettings(
            max_queue_size=module.max_queue_size or settings.max_queue_size,
            preferred_sizes=sorted(module.preferred_batch_sizes),
            max_delay_s=module.max_queue_delay_ms / 1e3,
            policies=own_policies(module),
            preserve_ordering=module.preserve_ordering,
        )
        plans.append(
            ModulePlan(
                resolved.info,
                instances,
                module.predict_args,
                batching,
                settings.ready_timeout_s,
                response_cache_bytes=settings.response_cache_bytes if module.response_cache else 0,
                latency_summaries=settings.latency_summaries,
            )
        )
    return plans


def reference_of(name: str, init_args: Mapping[str, Any], search_path: Sequence[Path] = ()) -> str:
    """Return the reference of a module of ``modules_info``, for :func:`hubserve.registry.resolve.resolve`.

    Args:
        name: the module's.
        init_args: its own; ``directory`` takes precedence over ``version``.
        search_path: folders in which a relative directory is looked up after the working directory.
    Raises:
        ModuleNotFound: a relative directory is in none of them.
        HubError: a directory at another place cannot be fetched.
    """
    directory, version = init_args.get("directory"), init_args.get("version")
    if not directory:
        return f"{name}=={version}" if version else name
    folder = copy_folder(str(directory)) if is_remote(str(directory)) else Path(str(directory)).expanduser()
    if folder.is_absolute():
        return str(folder)
    candidates = list(dict.fromkeys((Path.cwd() / folder, *(each / folder for each in search_path))))
    for candidate in candidates:
        if candidate.exists():
            return str(candidate)
    raise ModuleNotFound(
        f"modules_info.{name}.init_args.directory: no folder exists at {' or '.join(repr(str(each)) for each in candidates)}. "
        "Give the module's folder, absolute, or relative to the working directory or to the configuration file."
    )


def _on_gpu(settings: ServerSettings, name: str, resolved: Resolved, init_args: Mapping[str, Any]) -> bool:
    """Return True for a module that may use a GPU: a model file whose engine shall, or any other kind, which decides by itself."""
    backend = resolved.info.type.partition("/")[2]
    if resolved.info.kind != MODEL or backend not in FORMATS:
        return True
    return computes_on_gpu(backend, init_args, settings.prefers_gpu(name))


def _device_environ(settings: ServerSettings, name: str, resolved: Resolved, index: int, gpus: Sequence[str]) -> dict[str, str]:
    """Return the environment variables of an instance's GPU; the engine of a model file on the CPU sees none, and takes no memory there."""
    if resolved.info.kind == MODEL and not gpus:
        return {VISIBLE: HIDDEN}
    return settings.device_environ(name, index)


def _asked_instances(resolved: Resolved, module: ModuleSettings) -> int:
    """Return the number of instances that a module asks for; 0 if it does not say."""
    return get_kind(resolved.info.kind).instance_count(resolved.version_dir, {**os.environ, **module.environ})


def _refuse_init_args(name: str, init_args: dict[str, object]) -> None:
    if init_args:
        raise ConfigError(
            f"modules_info.{name}.init_args.{next(iter(init_args))}: a Triton model has its settings in config.pbtxt. Remove it."
        )


def find_modules(references: Sequence[str]) -> dict[str, Any]:
    """Return the ``modules_info`` that serves some modules with default settings.

    Args:
        references: installed modules (``NAME`` or ``NAME==VERSION``), folders and model files; a folder of several models stands for all of
            them. ``NAME=FILE`` serves a file under that name. Addresses of remote folders are copied first.
    Raises:
        ModuleNotFound: a module or version is not installed.
        ConfigError: two have the same name.
    """
    modules: dict[str, Any] = {}
    for given in [each for reference in map(local_reference, references) for each in each_model(reference)]:
        called, reference = named_file(given)
        resolved = resolve(reference)
        name = called or resolved.info.name
        if name in modules:
            also = ". Give one of the two another name: -m NAME=PATH" if resolved.info.kind in _NAMED_FREELY else ""
            raise ConfigError(f"the module '{name}' is named twice; one version of a module can be served on a port{also}")
        if called and resolved.info.kind not in _NAMED_FREELY:
            raise ConfigError(
                f"-m {called}=...: only a model's own files and tiinfer scripts can be given a name; '{reference}' is called "
                f"'{resolved.info.name}'"
            )
        where = {"version": resolved.info.version} if resolved.manifest else {"directory": str(resolved.folder)}
        modules[name] = {"init_args": where}
    return modules


def _instance_spec(
    settings: ServerSettings,
    name: str,
    resolved: Resolved,
    init_args: dict[str, object],
    search_path: Sequence[Path],
    index: int,
    count: int,
    gpus: Sequence[str],
) -> InstanceSpec:
    module = settings.modules_info[name]
    cores = len(os.sched_getaffinity(0))
    launched = launch(resolved.info, resolved.version_dir, home(), resolved.environment)
    environ = own_environ(name, module, launched, search_path)
    old_names = {} if settings.old_names else {OLD_NAMES_VARIABLE: "0"}
    fetching = {ADDRESSES_VARIABLE: " ".join(module.allowed_addresses)} if resolved.info.kind == TIINFER else {}
    return InstanceSpec(
        module=resolved.info.name,
        kind=resolved.info.kind,
        # another machine has its own copy of the folder, under the same name but at another path
        folder=resolved.folder if module.addresses else resolved.version_dir,
        import_name=resolved.import_name,
        init_args=init_args,
        defaults={"use_gpu": True} if settings.prefers_gpu(name) and not settings.computes_on_cpu_instead(name) else {},
        max_batch_size=module.max_batch_size or 0,
        search_path=[*search_path, *resolved.search_path],
        threads=max(1, cores // count),
        decode_ahead=bool(gpus) or count < cores,
        environ={**old_names, **fetching, **environ, **_device_environ(settings, name, resolved, index, gpus)},
        python=launched.python,
        load_timeout_s=module.load_timeout_s,
        compute_timeout_s=module.compute_timeout_s or settings.request_timeout_s,
        max_memory_mb=module.max_memory_mb or 0,
        address=module.addresses[index] if module.addresses else "",
        token_file=module.token_file,
        certificates=module.certificates,
        nan=settings.nan,
        version=resolved.info.version,
        number=index,
    )
