"""Checks that a configuration suits this machine: its GPUs, cores and memory."""

import os
from collections.abc import Iterator

from hubserve.doctor import engines, hardware
from hubserve.doctor.config.subject import Config
from hubserve.doctor.findings import ERROR, NOTE, WARNING, Finding, from_error
from hubserve.engines.model_formats import FORMATS
from hubserve.engines.selection import is_installed
from hubserve.engines.table import AUTO, ENGINES
from hubserve.errors import ConfigError, HubError
from hubserve.kinds.model_file import KIND as MODEL
from hubserve.registry.resolve import resolve

_MIB = 1 << 20


def check_gpu(config: Config) -> Iterator[Finding]:
    """Check that the requested GPUs exist, and that the engines can use them."""
    settings = config.settings
    computing = [name for name in config.modules if settings.uses_gpu(name)]
    if not computing:
        if settings.gpu is not None:
            yield config.finding(
                WARNING,
                "gpu",
                "it names GPUs, but no module has use_gpu, so all of them compute on the CPU",
                'Set "use_gpu": true, or remove "gpu"',
            )
        return
    for name, module in config.modules.items():
        uses = module.init_args.get("use_gpu", settings.use_gpu)
        if uses and module.init_args.get("enable_mkldnn"):
            yield config.finding(
                NOTE, f"modules_info.{name}.init_args.enable_mkldnn", "it has no effect with use_gpu, because the GPU computes"
            )
    try:
        listed = ",".join(dict.fromkeys(device for name in computing for device in settings.gpus(name)))
    except ConfigError as error:
        yield from_error(error, "use_gpu", "Name one in CUDA_VISIBLE_DEVICES, or set use_gpu to false", str(config.path))
        return
    yield from engines.visible_devices(listed, "gpu" if settings.gpu is not None else "CUDA_VISIBLE_DEVICES", str(config.path))
    for engine in sorted({_engine_of(config, name) for name in computing if not settings.computes_on_cpu_instead(name)}):
        yield from _check_build(config, engine)


def _engine_of(config: Config, name: str) -> str:
    """Return the engine of a model file; that of other modules is Paddle as far as is known without running them."""
    try:
        info = resolve(config.reference(name)).info
    except HubError:
        return "paddle"
    backend = info.type.partition("/")[2]
    found = str(config.modules[name].init_args.get("engine") or (FORMATS[backend].engine if backend in FORMATS else AUTO))
    return found if info.kind == MODEL and found in ENGINES else "paddle"


def _check_build(config: Config, engine: str) -> Iterator[Finding]:
    """Check that an engine was built for GPUs; one that is in an environment of its own is not looked at."""
    remedy = engines.build_for_gpus(engine)
    if engine != "paddle" and not is_installed(engine):
        return
    try:
        about = engines.import_engine(engine)
    except HubError as error:
        reason = f"the engine {engine} shall compute on a GPU, and it cannot be imported: {error.message}"
        yield config.finding(ERROR, "use_gpu", reason, remedy)
        return
    if about["cuda"] is False:
        reason = f"the engine {engine} shall compute on a GPU, and the installed one is built for CPUs"
        yield config.finding(ERROR, "use_gpu", reason, f"{remedy}; or set use_gpu to false")


def check_instances(config: Config) -> Iterator[Finding]:
    """Check that cores and memory suffice for all instances together."""
    counts, wanted_bytes = {}, 0
    for name, module in config.modules.items():
        if module.addresses:
            if module.workers:
                yield config.finding(
                    WARNING,
                    f"modules_info.{name}.workers",
                    "it has no effect with addresses, because one instance runs at each",
                    "Remove it",
                )
            continue
        try:
            counts[name] = config.settings.instance_count(name, resolve(config.reference(name)).info.batches)
        except HubError:
            continue
        wanted_bytes += counts[name] * (module.max_memory_mb * _MIB if module.max_memory_mb else hardware.INSTANCE_BYTES)
    total, cores = sum(counts.values()), len(os.sched_getaffinity(0))
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    if not any(map(config.settings.uses_gpu, config.modules)) and max(counts.values(), default=0) > cores:
        reason = f"a module has more instances than the {cores} cores here ({listed}): they take memory and slow one another down"
        yield config.finding(WARNING, "workers", reason, f'Set "workers" to {cores} or less')
    free = hardware.available_bytes()
    if wanted_bytes > free:
        reason = f"{total} instances ({listed}) may take {wanted_bytes // _MIB} MiB, but {free // _MIB} MiB are free"
        yield config.finding(WARNING, "workers", reason, 'Set fewer "workers", or a lower "max_memory_mb" if the real use is known')
