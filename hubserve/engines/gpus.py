"""Find the GPUs of this machine and of this process, and say why there are none, without importing a framework."""

import os
from pathlib import Path
from typing import List

from hubserve.errors import LoadFailed

VISIBLE = "CUDA_VISIBLE_DEVICES"
#: what an instance that computes on the CPU gets as :data:`VISIBLE`, so that its framework takes no memory of a GPU
HIDDEN = ""
#: names of GPUs and of their partitions, beside numbers: ``GPU-8932f937-...``, ``MIG-GPU-8932f937-.../1/2``
_UUIDS = ("GPU-", "MIG-")
#: devices of machines whose GPU has no ``/dev/nvidia0``: Windows' subsystem for Linux, with the driver's library, and Jetson
_OTHER_DEVICES = (("dxg", "usr/lib/wsl/lib/libcuda.so.1"), ("nvhost-gpu", ""))
_ON_THE_CPU = "ompute on the CPU: KIND_CPU in instance_group, use_gpu false, or, where no GPU is visible, the setting gpu_fallback 'cpu'."


class NoGpu(LoadFailed):
    """A GPU is asked for, and there is none, or the engine cannot use it."""


def gpu_count(root: Path = Path("/")) -> int:
    """Return how many NVIDIA GPUs this machine, or this container, has."""
    devices = root / "dev"
    numbered = len([each for each in devices.glob("nvidia[0-9]*") if each.name[6:].isdigit()])
    return numbered or int(any((devices / name).exists() and (root / driver).exists() for name, driver in _OTHER_DEVICES))


def has_gpu() -> bool:
    """Return True if this machine, or this container, has a GPU, visible to this process or not."""
    return gpu_count() > 0


def listed_gpus(text: str) -> List[str]:
    """Return the names in a list of GPUs, such as ``0,1`` or ``GPU-8932f937``; as in CUDA, what is not a name ends the list."""
    found: List[str] = []
    for each in map(str.strip, text.split(",")):
        if not each.isdigit() and not each.startswith(_UUIDS):
            break
        found.append(each)
    return found


def visible_gpus() -> List[str]:
    """Return the GPUs of this process by the names that :data:`VISIBLE` takes: those that it lists, or all of this machine."""
    listed = os.environ.get(VISIBLE)
    return list(map(str, range(gpu_count()))) if listed is None else listed_gpus(listed)


def why_no_gpu() -> str:
    """Return why this process sees no GPU, as the end of a sentence; "" if it sees one."""
    if not gpu_count():
        return "this machine has none (there is no /dev/nvidia0; a container needs access to it: docker run --gpus all)"
    listed = os.environ.get(VISIBLE)
    if listed is not None and not listed_gpus(listed):
        return f"{VISIBLE}='{listed[:100]}' hides all of them (nvidia-smi -L lists those there are)"
    return ""


def no_gpu(package: str, why: str = "", remedy: str = "") -> NoGpu:
    """Return the error for an engine that shall compute on a GPU and cannot.

    Args:
        package: what cannot use a GPU, for people: ``PyTorch``.
        why: the engine's own reason, behind that of the machine.
        remedy: a sentence with the command that helps.
    """
    missing = why_no_gpu()
    unknown = f"{package} finds none (compare nvidia-smi with the CUDA that it was built for)"
    reasons = "; ".join(filter(None, (missing, why))) or unknown
    remedies = [remedy, "Or c" + _ON_THE_CPU] if remedy and not missing else ["C" + _ON_THE_CPU]
    return NoGpu(" ".join((f"a GPU is asked for, and {reasons}.", *remedies)))
