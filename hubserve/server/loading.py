"""Load the modules of a server, and report the result in the log and in the notes that ``hub show`` reads."""

import logging
import time

from hubserve.errors import LoadFailed
from hubserve.gateway.dataplane import DataPlane, ServedModule
from hubserve.registry.engine_note import note_engine

log = logging.getLogger("hubserve")


async def load_modules(dataplane: DataPlane, address: str, *, may_all_fail: bool = False) -> None:
    """Load every module; those that fail are logged, and do not affect the others.

    Args:
        dataplane: the modules.
        address: prefix of ``/predict/<module>``, for the log.
        may_all_fail: whether the server stays up without any loaded module.
    Raises:
        LoadFailed: no module at all could be loaded, and ``may_all_fail`` is not set.
    """
    start = time.monotonic()
    await dataplane.start()
    failed = [module for module in dataplane if module.load_error]
    for module in failed:  # logged first, as the server may end because of it
        log.error("module '%s' is not served: %s", module.plan.info.name, module.load_error, extra=_fields(module))
    if failed and len(failed) == len(list(dataplane)):
        if may_all_fail:
            log.error("no model is loaded; the server stays up, and is not ready. The index of models has the reason of each")
            return
        raise LoadFailed("; ".join(f"{module.plan.info.name}: {module.load_error}" for module in failed))
    for module in dataplane:
        if not module.load_error:
            _log_ready(module, address)
    log.info("loaded in %.1f s", time.monotonic() - start)


def _log_ready(module: ServedModule, address: str) -> None:
    info, engine = module.plan.info, module.description.engine
    note_loaded(module)
    by = f", engine {engine['name']}" if engine and engine.get("name") else ""
    log.info("ready: POST %s/predict/%s (version %s, instances %d%s)", address, info.name, info.version, len(module.pool.slots), by)


def note_loaded(module: ServedModule) -> None:
    """Record what a loaded module reports of its engine, and log its warnings."""
    engine = module.description.engine
    if module.plan.folder:
        note_engine(module.plan.info, module.plan.folder, engine)
    for warning in (engine or {}).get("warnings", ()):
        log.warning("module '%s': %s", module.plan.info.name, warning, extra=_fields(module))


def _fields(module: ServedModule) -> dict[str, str]:
    """Return by which lines of the log name a module."""
    return {"module_name": module.plan.info.name, "version": module.plan.info.version}
