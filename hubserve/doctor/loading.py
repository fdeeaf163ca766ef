"""``hub doctor --load``: load a module in an instance and compute an answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from hubserve.doctor.classifiers import score_findings
from hubserve.doctor.findings import NOTE, WARNING, Finding, from_error
from hubserve.engines.synthetic_batch import make_sample
from hubserve.errors import HubError
from hubserve.gateway.dataplane import DataPlane, ModulePlan, ServedModule
from hubserve.kinds import Interface
from hubserve.server.deployment import find_modules, make_plans
from hubserve.settings import ServerSettings, parse_settings
from hubserve.types import InferRequest
from hubserve.vision.codecs import encode_picture

_DRAIN_S = 5.0
_SHOWN = 200


def load_module(reference: str) -> list[Finding]:
    """Load a module once and compute a synthetic input.

    Args:
        reference: an installed module, or a folder.
    """
    try:
        settings = parse_settings({"modules_info": find_modules([reference]), "workers": 1}, "hub doctor")
        return load_all(settings, [])
    except HubError as error:
        return [from_error(error, "load")]


def load_all(settings: ServerSettings, search_path: list[Path]) -> list[Finding]:
    """Load every module of a configuration, one instance each, one after the other.

    Args:
        settings: the configuration.
        search_path: folders in which relative paths are looked up first.
    """
    findings: list[Finding] = []
    for plan in make_plans(settings, search_path):
        one = replace(plan, instances=plan.instances[:1])
        findings += asyncio.run(_try(one))
    return findings


async def _try(plan: ModulePlan) -> list[Finding]:
    dataplane = DataPlane([plan])
    start = time.monotonic()
    try:
        await dataplane.start()
        module = dataplane.get(plan.info.name)
        folder = str(plan.folder or "")
        if module.load_error:
            return [from_error(HubError(module.load_error), "load", "Fix the problem and retry", folder)]
        engine = (module.description.engine or {}).get("name")
        took = f"it loads in {time.monotonic() - start:.1f} s" + (f", engine {engine}" if engine else "")
        about = score_findings(module.description.engine) if "scores" in (module.description.engine or {}) else ()
        return [Finding(NOTE, "load", took, file=folder), *about, *[each async for each in _request(module, folder)]]
    finally:
        await dataplane.stop(_DRAIN_S)


async def _request(module: ServedModule, folder: str) -> AsyncIterator[Finding]:
    samples = dict(_samples(module))
    if not samples:
        yield Finding(NOTE, "sample", "no request was sent: only its author knows the arguments of its serving method", file=folder)
    for interface, request in samples.items():
        try:
            with module.admit():
                answer = await module.infer(request)
        except HubError as error:
            fix = "The module may rightly refuse a synthetic input; otherwise fix its code"
            yield Finding(WARNING, "sample", f"a synthetic input ({interface}) failed: {error.message}", fix, folder)
        else:
            text = bytes(answer.json or b"").decode("utf-8", "replace")
            yield Finding(
                NOTE,
                "sample",
                f"a synthetic input ({interface}) was answered: {text[:_SHOWN]}{'...' if len(text) > _SHOWN else ''}",
                file=folder,
            )


def _samples(module: ServedModule) -> Iterator[tuple[str, InferRequest]]:
    described, name = module.description, module.plan.info.name
    if Interface.PICTURE in described.interfaces:
        yield Interface.PICTURE, InferRequest(name, pictures=[encode_picture(np.full((64, 64, 3), 127, np.uint8), ".png")])
    elif Interface.TENSORS in described.interfaces:
        yield Interface.TENSORS, InferRequest(name, tensors={key: array[:1] for key, array in make_sample(described.inputs).items()})
