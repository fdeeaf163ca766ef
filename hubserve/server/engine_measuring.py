"""Measure a module's engines as its instances would: ``hub engines measure``."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

from hubserve.engines.selection_cache import Kept
from hubserve.errors import LoadFailed
from hubserve.gateway.dataplane import DataPlane, ModulePlan
from hubserve.registry.engine_note import read_engine_note
from hubserve.registry.progress import Progress, silent
from hubserve.registry.remeasuring import choices_of, remeasure_command
from hubserve.server.deployment import find_modules, make_plans
from hubserve.server.loading import note_loaded
from hubserve.settings import parse_settings

_DRAIN_S = 5.0


def measure_engines(reference: str, progress: Progress = silent) -> tuple[str, list[dict[str, Any]]]:
    """Measure the engines of each of a module's models, with the options of the last load, and select the fastest.

    Args:
        reference: an installed module, or a folder; one that was never loaded is loaded once, which measures it.
        progress: called with a description of each step.
    Returns:
        The module's name; and ``was``, ``engine`` and ``reason`` for each model.
    Raises:
        HubError: the module cannot be loaded or measured, or does not select its engines by measuring.
    """
    settings = parse_settings({"modules_info": find_modules([reference]), "workers": 1}, "hub engines")
    plan = make_plans(settings, [])[0]
    name = plan.info.name
    choices = choices_of(read_engine_note(plan.info, plan.folder) if plan.folder else None)
    if choices:
        progress("measuring the engines, which takes some seconds")
        return name, [_measure(kept, plan) for kept in choices]
    progress("loading the module once")
    engine = asyncio.run(_load_once(plan))
    found = choices_of(engine)
    if not found:
        why = (engine or {}).get("reason") or "it reports no engine"
        raise LoadFailed(f"there is nothing to measure for '{name}' ({why}). Set its engine to 'auto' to choose by measuring.")
    return name, [{"was": each.verdict.engine, "engine": each.verdict.engine, "reason": each.verdict.reason} for each in found]


async def _load_once(plan: ModulePlan) -> dict[str, Any] | None:
    dataplane = DataPlane([replace(plan, instances=plan.instances[:1])])
    try:
        await dataplane.start()
        module = dataplane.get(plan.info.name)
        if module.load_error:
            raise LoadFailed(module.load_error)
        note_loaded(module)
        return module.description.engine
    finally:
        await dataplane.stop(_DRAIN_S)


def _measure(kept: Kept, plan: ModulePlan) -> dict[str, Any]:
    spec = plan.instances[0]
    command = remeasure_command(kept.path, 1.0, only_if_idle=False, python=spec.python or sys.executable)
    done = subprocess.run(command, env=spec.full_environ(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    try:
        result: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        result = {"error": f"the process that measures them ended with status {done.returncode} and no result"}
    if "error" in result:
        raise LoadFailed(str(result["error"]))
    return result
