"""Devices of the instances of a Triton model: which CPUs and GPUs its instance groups ask for, and what its processes see of the GPUs."""

import logging
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from hubserve.engines.gpus import HIDDEN, VISIBLE, visible_gpus, why_no_gpu
from hubserve.errors import ConfigError
from hubserve.kinds.triton.fields import MOST_INSTANCES, asks_for_gpu, why_on_cpu
from hubserve.kinds.triton.model_folder import TritonModel
from hubserve.settings import ServerSettings

log = logging.getLogger("hubserve")


class Device(NamedTuple):
    """The device of one instance.

    Attributes:
        kind: ``CPU``, ``GPU``, or ``MODEL`` if the model chooses by itself.
        gpu: its number among those that the model's processes may see.
        visible_name: its name in ``CUDA_VISIBLE_DEVICES``.
        visible: of all GPUs that the settings give the model; "" for those of this process.
    """

    kind: str = "CPU"
    gpu: int = 0
    visible_name: str = ""
    visible: str = ""


def devices_of(model: TritonModel, settings: ServerSettings) -> list[Device]:
    """Return the device of each instance.

    Raises:
        ConfigError: a GPU is asked for, and there is none, or the instances are too many.
    """
    groups = model.config["instance_group"] or [{}]
    own = settings.module(model.name)
    if own.workers and len(groups) > 1:
        raise ConfigError(
            f"modules_info.{model.name}.workers: the model's config.pbtxt has several instance groups. Remove one of the two."
        )
    devices: list[Device] = []
    for group in groups:
        gpus = _gpus_of(model, group, settings)
        if gpus:
            devices += gpus * (own.workers or group.get("count") or 1)
        else:
            merges = model.backend != "python" and "sequence_batching" not in model.config
            count = own.workers or group.get("count") or settings.instance_count(model.name, merges, on_cpu=True)
            devices += [Device("MODEL" if group.get("kind") == "KIND_MODEL" else "CPU")] * count
    if len(devices) > MOST_INSTANCES:
        raise ConfigError(
            f"model '{model.name}': {len(devices)} instances are configured, and a model may have {MOST_INSTANCES}. "
            "Lower the counts in instance_group."
        )
    return devices


def device_environ(device: Device, backend: str) -> dict[str, str]:
    """Return the environment variables by which an instance sees its GPU alone, or none."""
    if backend == "python":  # a model.py chooses the GPU by the number that it is given, and may use one on KIND_CPU, too
        return {VISIBLE: device.visible} if device.visible else {}
    return {VISIBLE: device.visible_name if device.kind == "GPU" else HIDDEN}


def device_number(device: Device, backend: str) -> int:
    """Return the number of an instance's GPU among those that it sees."""
    return device.gpu if backend == "python" else 0


def _gpus_of(model: TritonModel, group: Mapping[str, Any], settings: ServerSettings) -> list[Device]:
    """Return the GPUs of an instance group; empty if it computes on the CPU."""
    named = asks_for_gpu(group)
    if not named and not (group.get("kind", "KIND_AUTO") == "KIND_AUTO" and settings.prefers_gpu(model.name)):
        return []
    why = why_on_cpu(model.config, model.backend)
    if why:
        if not named:  # else it is among the fields without effect
            log.warning("model '%s': use_gpu has no effect, because %s", model.name, why)
        return []
    if settings.computes_on_cpu_instead(model.name):
        log.warning("model '%s' asks for a GPU and computes on the CPU, as gpu_fallback says: %s", model.name, why_no_gpu())
        return []
    numbers = group.get("gpus", [])
    return [Device("GPU", number, _visible_name(model.name, number)) for number in numbers] or _all_gpus(model.name, settings)


def _all_gpus(name: str, settings: ServerSettings) -> list[Device]:
    """Return the GPUs that the settings or ``CUDA_VISIBLE_DEVICES`` name; if neither is set, all of this machine."""
    chosen = settings.chosen_gpus(name)
    found = visible_gpus() if chosen is None else chosen
    if not found:
        raise _none(name)
    visible = "" if chosen is None else ",".join(chosen)
    return [Device("GPU", number, each, visible) for number, each in enumerate(found)]


def _visible_name(name: str, number: int) -> str:
    """Return the name in ``CUDA_VISIBLE_DEVICES`` of the GPU with this number among those visible to this process."""
    visible = visible_gpus()
    if not visible:
        raise _none(name)
    if number >= len(visible):
        shown = "this machine has" if os.environ.get(VISIBLE) is None else f"{VISIBLE} shows"
        raise ConfigError(
            f"model '{name}': GPU {number} is configured, and {shown} {len(visible)}: {', '.join(visible)}. Correct gpus in instance_group."
        )
    return visible[number]


def _none(name: str) -> ConfigError:
    why = why_no_gpu() or "the setting gpu names none"
    return ConfigError(
        f"model '{name}' asks for a GPU, and {why}. To compute on the CPU instead, start with --gpu-fallback cpu (setting gpu_fallback), "
        "or write KIND_CPU in its instance_group."
    )
