"""Remeasure engines that were chosen on a busy machine, or by a narrow margin, once it is idle, and swap them without a gap."""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from dataclasses import replace
from typing import Any

from hubserve.engines.machine_load import IdleSince, used
from hubserve.engines.remeasure import MARGIN
from hubserve.engines.selection_cache import Kept
from hubserve.gateway.dataplane import DataPlane, ServedModule
from hubserve.gateway.instances.frame_records import FrameRecords
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.instances.module_output import ModuleOutput
from hubserve.registry.remeasuring import choices_of, measurements, name_of, remeasure_command
from hubserve.server.loading import note_loaded

log = logging.getLogger("hubserve")

#: checks of the machine's load within the idle time
_CHECKS = 6
#: attempts to measure one choice, if the machine is busy again each time
_MOST_TRIALS = 3
_TIMEOUT_S = 1800.0
_SWAP_TIMEOUT_S = 600.0
_CHECK_S = 0.2


class EngineWatch:
    """Background task that remeasures engine choices of one server.

    Args:
        dataplane: the modules that it serves.
        after_idle_s: seconds that the machine must have been idle; 0 to never remeasure.
    """

    def __init__(self, dataplane: DataPlane, after_idle_s: float) -> None:
        self._dataplane = dataplane
        self._after_idle_s = after_idle_s
        self._trials: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to watch."""
        if self._after_idle_s:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop watching, and end a measurement in progress."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        idle = IdleSince(os.cpu_count() or 1)
        while True:
            await asyncio.sleep(self._after_idle_s / _CHECKS)
            if idle.idle_s(used(), time.monotonic()) < self._after_idle_s:
                continue
            try:
                found = self._unsure()
                if found:
                    await self._measure(*found)
            except Exception:
                log.exception("cannot remeasure engines; this server stops doing so")
                return

    def _unsure(self) -> tuple[ServedModule, Kept] | None:
        """Return a choice that needs remeasuring, and a module that uses it."""
        for module in self._dataplane:
            if module.load_error or not module.plan.instances or module.plan.instances[0].address:
                continue
            if not any(each.get("again") for each in measurements(module.description.engine)):
                continue
            for kept in choices_of(module.description.engine):
                measured = kept.verdict.measured or {}
                if measured.get("again") and kept.asked and self._trials.get(str(kept.path), 0) < _MOST_TRIALS:
                    return module, kept
        return None

    async def _measure(self, module: ServedModule, kept: Kept) -> None:
        name, spec, path = module.plan.info.name, module.plan.instances[0], str(kept.path)
        self._trials[path] = self._trials.get(path, 0) + 1
        log.info("the machine is idle: measuring the engines of '%s' again, because %s", name, (kept.verdict.measured or {})["again"])
        result = await _result_of(remeasure_command(kept.path, MARGIN, True, spec.python or sys.executable), spec)
        if "error" in result:
            self._trials[path] = _MOST_TRIALS
            log.warning("the engines of '%s' could not be measured again: %s", name, result["error"])
        elif result["state"] == "busy":
            log.info("the machine became busy again: '%s' stays with %s", name, result["was"])
        else:
            log.info("'%s' was measured again: %s", name, result["reason"])
            self._trials[path] = _MOST_TRIALS
            for each in list(self._dataplane):
                if any(measured.get("choice") == name_of(kept) for measured in measurements(each.description.engine)):
                    await self._renew(each, result, is_changed=result["state"] == "changed")

    async def _renew(self, module: ServedModule, result: dict[str, Any], is_changed: bool) -> None:
        """Apply the result of a measurement to a module."""
        engine = module.description.engine
        if is_changed:
            for slot in module.pool.slots:
                before = slot.instance
                slot.request_replacement(f"{result['engine']} computes it faster than {result['was']}", "engine")
                end = time.monotonic() + _SWAP_TIMEOUT_S
                # if the new instance cannot be loaded, the old one stays
                while slot.instance in (before, None) and slot.replace_reason and time.monotonic() < end:  # noqa: ASYNC110 - rare
                    await asyncio.sleep(_CHECK_S)
                if slot.instance is not None and slot.instance is not before:
                    engine = slot.instance.description.engine
        elif engine and engine.get("measured"):
            engine = {**engine, "reason": result["reason"], "measured": result["measured"]}
        module.description = module.description._replace(engine=engine)
        note_loaded(module)


async def _result_of(command: Any, spec: InstanceSpec) -> dict[str, Any]:
    """Return the JSON output of a process, which ends together with this task; its standard error is output of the module."""
    output = ModuleOutput(replace(spec, number="engines"), FrameRecords())
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=spec.full_environ(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=output.writing_fd,
            start_new_session=True,
        )
    except BaseException:
        output.close()
        raise
    output.start()
    result: dict[str, Any] = {"error": "the measuring process ended without a result; see the server log"}
    try:
        answer, _ = await asyncio.wait_for(process.communicate(), _TIMEOUT_S)
        result = json.loads(answer)
    except (ValueError, asyncio.TimeoutError):
        pass
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        output.finish()
    return result
