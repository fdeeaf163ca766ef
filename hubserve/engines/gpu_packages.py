"""Builds of engines for GPUs: which of them this Python has."""

from typing import Type

from hubserve.engines.base import Engine
from hubserve.engines.gpus import has_gpu
from hubserve.engines.package_versions import version_of

#: engines whose models may ask for a GPU in vain: published ONNX models do, and were served on CPUs before ONNX Runtime had GPUs here
_MAY_ASK_IN_VAIN = ("onnxruntime",)


def ignores_gpu(engine: Type[Engine]) -> str:
    """Return why a model's wish for a GPU has no effect on an engine; "" if it has.

    Where there is neither a GPU nor the engine's build for one, models compute on the CPU: nothing suggests that a GPU was counted on.
    """
    if not engine.has_gpu:
        return f"the engine {engine.name} computes on the CPU"
    if engine.name in _MAY_ASK_IN_VAIN and not has_gpu() and lacks_gpu_build(engine):
        return f"this machine has no GPU, and {engine.gpu_package} is not installed"
    return ""


def lacks_gpu_build(engine: Type[Engine]) -> bool:
    """Return True for an engine whose build for GPUs is another package, which is not installed here."""
    return bool(engine.gpu_package) and not version_of(engine.gpu_package)
