"""Plan a Triton model: its versions, their instances, and their queues."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hubserve.errors import ConfigError, HubError
from hubserve.gateway.ensembles.plan import plan_ensemble
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.module_plan import ModulePlan
from hubserve.gateway.triton_devices import Device, device_environ, device_number, devices_of
from hubserve.gateway.triton_scheduling import batch_settings, sequence_plan, warm_up_samples
from hubserve.kinds.base import ModuleInfo
from hubserve.kinds.triton.accelerators import paths_of
from hubserve.kinds.triton.config import ENSEMBLE
from hubserve.kinds.triton.fields import ignored_fields
from hubserve.kinds.triton.model_folder import KIND, TritonModel, open_model, own_config
from hubserve.paths import home
from hubserve.registry.environments.engine_environment import engine_launch
from hubserve.registry.environments.launch import Launch, absolute_folders, with_libraries
from hubserve.registry.environments.module_requirements import variable_problem
from hubserve.registry.environments.packed_environment import check_sent, packed_launch
from hubserve.registry.model_store import StoredModel, find_models, other_entries, store_folders, why_no_model
from hubserve.settings import ModuleSettings, ServerSettings

log = logging.getLogger("hubserve")

#: entries of a store that are not models and are listed in the log
_MAX_LISTED = 20


def plan_stores(settings: ServerSettings, search_path: Sequence[Path] = (), only: str | None = None) -> list[ModulePlan]:
    """Plan the models of the settings' stores that are served from the start: all, unless ``model_control`` is ``explicit``.

    Args:
        settings: of the server.
        search_path: folders in which relative stores are looked up first.
        only: plan only the model of this name, whether it is served from the start or not.
    Returns:
        The plans; that of a model that cannot be served has an ``error``.
    Raises:
        ConfigError: a store is not a folder, or no store holds a model that ``load_model`` names.
    """
    stores = store_folders(settings.model_store, search_path)
    models = find_models(stores)
    names = list(models) if settings.model_control != "explicit" or "*" in settings.load_model else list(settings.load_model)
    unknown = [name for name in names if name not in models]
    if only is not None:
        names = [only] if only in models else []
    elif unknown:
        why = why_no_model(stores, unknown[0])
        raise ConfigError(
            f"load_model names '{unknown[0]}', which is in no model store{why and ': ' + why}; there are {', '.join(models) or 'none'}"
        )
    else:
        _log_others(stores)
    return [plan for name in names for plan in plan_stored(models[name], settings)]


def _log_others(stores: Sequence[Path]) -> None:
    """Log what stores hold beside models, once for each start or reload."""
    for store in dict.fromkeys(stores):
        names = other_entries(store)
        if names:
            more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
            log.info("model store '%s': skipped, because they hold no model: %s%s", store, ", ".join(names[:_MAX_LISTED]), more)


def plan_stored(model: StoredModel, settings: ServerSettings) -> list[ModulePlan]:
    """Plan one model of a store; if that fails, return one plan with the reason as its ``error``."""
    try:
        if model.problem:
            raise ConfigError(model.problem)
        return plan_model(model.folder, settings, model.name)
    except HubError as error:
        return [ModulePlan(ModuleInfo(model.name, "", KIND), [], error=error.message)]


def plan_model(
    folder: Path,
    settings: ServerSettings,
    name: str = "",
    config: Mapping[str, Any] | None = None,
    launched: Launch | None = None,
    search_path: Sequence[Path] = (),
) -> list[ModulePlan]:
    """Plan every version of a Triton model that its version policy chooses.

    Args:
        folder: holds ``config.pbtxt`` and a folder for each version. To serve files that a client sent, write them into a folder of
            this form, and pass the model's name.
        settings: of the server; the settings of this model in ``modules_info`` take precedence over ``config.pbtxt``.
        name: of the model; by default the one in ``config.pbtxt``, else the folder's.
        config: a decoded JSON object that replaces ``config.pbtxt``; its numbers may be texts.
        launched: the Python and the environment variables of its instances; None for those of this process.
        search_path: folders in which relative paths are looked up.
    Returns:
        One plan for each version, ascending, to be passed to :meth:`hubserve.gateway.dataplane.DataPlane.load` together.
    Raises:
        ConfigError: the configuration cannot be fulfilled.
        LoadFailed: there is no version, or no model file.
        MissingDependency: a package that reads the configuration is not installed.
    """
    model = open_model(folder.absolute(), name, config)
    ignored = ignored_fields(model.config, model.backend)
    if ignored:
        log.warning("model '%s': fields of its configuration have no effect here: %s", model.name, "; ".join(ignored))
    if model.backend == ENSEMBLE:
        _require_no_settings(model.name, settings)
        ensemble = plan_ensemble(model.config)
        return [
            ModulePlan(
                model.info(version),
                [],
                ready_timeout_s=settings.ready_timeout_s,
                config=model.config,
                ensemble=ensemble,
                model_folder=model.folder,
                latency_summaries=settings.latency_summaries,
            )
            for version in model.versions
        ]
    devices = devices_of(model, settings)
    if config is not None and not settings.model_uploads:
        _check_paths(model)
    if model.backend == "python":
        if config is not None and not settings.model_uploads:
            check_sent(model.config, own_config(model.folder), model.folder)
        launched = packed_launch(model.config, model.folder) or launched
    own = settings.module(model.name)
    if launched is None:
        use_gpu = any(device.kind == "GPU" for device in devices)
        engine, subject = model.engine_on(use_gpu=use_gpu), f"model '{model.name}'"
        build = settings.build_environments
        launched = engine_launch(home(), engine, subject, build=build, use_gpu=use_gpu, requested=own.environment)
    if own.addresses:
        raise ConfigError(f"modules_info.{model.name}.addresses: the instances of a Triton model run on this machine only. Remove it.")
    caches = own.response_cache or model.config.get("response_cache", {}).get("enable")
    return [
        ModulePlan(
            model.info(version),
            [
                _spec(model, version, index, device, devices, settings, launched or Launch(), search_path)
                for index, device in enumerate(devices)
            ],
            own.predict_args,
            batch_settings(model, own, settings),
            settings.ready_timeout_s,
            sequences=sequence_plan(model),
            response_cache_bytes=settings.response_cache_bytes if caches else 0,
            config=model.config,
            latency_summaries=settings.latency_summaries,
        )
        for version in model.versions
    ]


def _check_paths(model: TritonModel) -> None:
    """Refuse files and folders in a client's configuration that the model's own does not name."""
    sent, own = paths_of(model.config), paths_of(own_config(model.folder))
    for key, path in sent.items():
        if own.get(key) != path:
            raise ConfigError(
                f"model '{model.name}': a client's configuration may set {key} only to the model's own value, got '{path[:200]}'. "
                f"Put it into '{model.folder / 'config.pbtxt'}', or allow it by the server's setting 'model_uploads'."
            )


def _require_no_settings(name: str, settings: ServerSettings) -> None:
    """Refuse settings for an ensemble, which is computed by its models and has none but its folder."""
    own, default = settings.module(name), ModuleSettings()
    for field in own.__struct_fields__:
        if field != "init_args" and getattr(own, field) != getattr(default, field):
            raise ConfigError(
                f"modules_info.{name}.{field}: an ensemble has no instances, queue or cache of its own. Remove it, or give it to a model "
                "of the ensemble."
            )


def _spec(
    model: TritonModel,
    version: int,
    index: int,
    device: Device,
    devices: Sequence[Device],
    settings: ServerSettings,
    launched: Launch,
    search_path: Sequence[Path],
) -> InstanceSpec:
    own = settings.module(model.name)
    cores = len(os.sched_getaffinity(0))
    environ = {**own_environ(model.name, own, launched, search_path), **device_environ(device, model.backend)}
    device_id = device_number(device, model.backend)
    return InstanceSpec(
        module=model.name,
        kind=KIND,
        folder=model.folder,
        import_name=model.name,
        init_args={
            "config": model.config,
            "version": str(version),
            "instance": {"index": index, "kind": device.kind, "device_id": device_id},
        },
        max_batch_size=own.max_batch_size or 0,
        search_path=search_path,
        threads=max(1, cores // len(devices)),
        environ=environ,
        load_timeout_s=own.load_timeout_s,
        compute_timeout_s=own.compute_timeout_s or settings.request_timeout_s,
        max_memory_mb=own.max_memory_mb or 0,
        python=launched.python,
        warm_up=warm_up_samples(model),
        nan=settings.nan,
        version=str(version),
        number=index,
    )


def own_environ(name: str, own: ModuleSettings, launched: Launch, search_path: Sequence[Path]) -> dict[str, str]:
    """Return the environment variables of a module's own settings, on top of those of its launch.

    Raises:
        ConfigError: one may not be set.
    """
    for variable in own.environ:
        if problem := variable_problem(variable):
            raise ConfigError(f"modules_info.{name}.environ sets {variable[:60]!r}, which {problem}")
    return with_libraries({**launched.environ, **own.environ}, absolute_folders(own.library_path, search_path))
