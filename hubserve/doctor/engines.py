"""Checks of the engines and of GPUs."""

import os
from collections.abc import Iterator
from typing import Any

from hubserve.doctor.findings import ERROR, NOTE, WARNING, Finding
from hubserve.doctor.software import first_line_of
from hubserve.engines import ENGINES, engine_class
from hubserve.engines.gpus import gpu_count
from hubserve.engines.selection import is_installed
from hubserve.engines.subprocess_call import call_in_child
from hubserve.errors import HubError
from hubserve.paths import home
from hubserve.registry.environments.engine_environment import environment_of

_IMPORT_TIMEOUT_S = 120.0
#: engine -> its package for CPUs, and that for GPUs
_BUILDS = {
    "paddle": ("paddlepaddle", "paddlepaddle-gpu"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu[cuda,cudnn]"),
    "pytorch": ("torch", "torch"),
    "tensorflow": ("tensorflow-cpu", "tensorflow[and-cuda]"),
}


def check_engines() -> Iterator[Finding]:
    """Check that each engine can be imported, in separate processes."""
    installed = [name for name in ENGINES if is_installed(name)]
    if not installed:
        yield Finding(
            WARNING,
            "engines",
            f"none of {', '.join(ENGINES)} is installed, so no model can be computed",
            "pip install 'hubserve[cpu,fast]'",
        )
    for name in ENGINES:
        if name not in installed:
            yield _not_installed(name)
            continue
        try:
            about = import_engine(name)
        except HubError as error:
            last = next((line.strip() for line in reversed(error.detail.splitlines()) if line.strip()), "")
            reason = f"it cannot be imported: {error.message}" + (f" (its last output: {last[:200]})" if last else "")
            yield Finding(
                ERROR,
                name,
                reason,
                f"Reinstall it in this environment, or remove it: pip uninstall {engine_class(name).package or name}",
            )
        else:
            cuda = {True: ", built for CUDA", False: ", built for CPUs", None: ""}[about["cuda"]]
            yield Finding(NOTE, name, f"version {about['version'] or 'unknown'}{cuda}, imported in {about['seconds']:.1f} s")
            yield from _compare_gpus(name, about)


def _not_installed(name: str) -> Finding:
    profile = engine_class(name).profile
    if not profile:
        return Finding(NOTE, name, "not installed", "pip install 'hubserve[cpu,fast]' installs the others")
    environment = environment_of(home(), name)
    if environment:
        return Finding(NOTE, name, f"in an environment of its own, {environment.key}, with Python {environment.python}")
    return Finding(NOTE, name, "not installed", f"hub env build {profile}")


def import_engine(name: str) -> dict[str, Any]:
    """Call :func:`hubserve.doctor.probe.import_engine` in a separate process.

    Raises:
        HubError: the import fails, crashes, or hangs.
    """
    about: dict[str, Any] = call_in_child("hubserve.doctor.probe:import_engine", [name], _IMPORT_TIMEOUT_S)
    return about


def build_for_gpus(name: str) -> str:
    """Return how to get an engine's build for GPUs."""
    packages = _BUILDS.get(name)
    return f"pip uninstall {packages[0]}; pip install '{packages[1]}'" if packages else "Install its build for CUDA"


def _compare_gpus(name: str, about: dict[str, Any]) -> Iterator[Finding]:
    if about["cuda"] is None or not gpu_count():
        return
    if not about["cuda"]:
        reason = "this machine has a GPU, but this engine is built for CPUs only, so use_gpu and KIND_GPU fail"
        yield Finding(WARNING, name, reason, build_for_gpus(name))
    elif about["gpus"] == 0 and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        yield Finding(
            ERROR,
            name,
            "it is built for CUDA but sees no GPU, although this machine has one",
            "Compare the CUDA version of nvidia-smi with that of the engine's build",
        )


def check_gpus() -> Iterator[Finding]:
    """Check GPUs and their driver."""
    count = gpu_count()
    if count:
        names = first_line_of(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"])
        if names:
            yield Finding(NOTE, "GPU", f"{count}: {names}")
        else:
            yield Finding(
                WARNING,
                "GPU",
                f"there are {count}, but nvidia-smi fails: driver and library may not match",
                "Reinstall the driver, or reboot",
            )
    else:
        yield Finding(NOTE, "GPU", "none is visible; a container needs access to it (docker run --gpus all)")
    yield from visible_devices(os.environ.get("CUDA_VISIBLE_DEVICES", ""), "CUDA_VISIBLE_DEVICES")


def visible_devices(listed: str, about: str, file: str = "") -> Iterator[Finding]:
    """Check that the GPUs in a list, such as ``0,1``, exist."""
    count = gpu_count()
    for each in filter(None, map(str.strip, listed.split(","))):
        if each.isdigit() and int(each) >= count:
            there = f"this machine has {count}, counted from 0" if count else "this machine does not have any"
            yield Finding(WARNING, about, f"it names GPU {each}, but {there}", "Name GPUs that 'nvidia-smi -L' lists", file)
