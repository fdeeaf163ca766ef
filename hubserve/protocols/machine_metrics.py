"""Triton's metrics of the machine: processors, memory, and GPUs of NVIDIA."""

import ctypes
import logging
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from prometheus_client.core import Metric

log = logging.getLogger("hubserve")

_KIB = 1 << 10
#: the utilization of a shorter time says little
_SHORTEST_S = 1.0
#: of NVIDIA's driver
_LIBRARY = "libnvidia-ml.so.1"
_COUNTER, _GAUGE = "counter", "gauge"


class MachineMetrics:
    """State of the machine, as it is now and since the last look at it."""

    def __init__(self) -> None:
        self._processors = _Processors()
        self._gpus = _Gpus()
        self._lock = threading.Lock()  # several may ask at once

    def families(self) -> Iterator[Metric]:
        """Yield the families of metrics that this machine has."""
        with self._lock:
            yield from self._processors.families()
            yield from _memory()
            yield from self._gpus.families()


def _single(name: str, text: str, value: float) -> Metric:
    family = Metric(name, text, _GAUGE)
    family.add_sample(name, {}, value)
    return family


def _memory() -> Iterator[Metric]:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            memory = {line.partition(":")[0]: int(line.split()[1]) * _KIB for line in file}
    except OSError:
        return
    used = memory["MemTotal"] - memory.get("MemAvailable", memory["MemFree"])
    yield _single("nv_cpu_memory_total_bytes", "Memory of the machine", memory["MemTotal"])
    yield _single("nv_cpu_memory_used_bytes", "Used memory of the machine", used)


class _Processors:
    """Utilization of all processors together."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._before = _processor_times()
        self._utilization = 0.0

    def families(self) -> Iterator[Metric]:
        now, times = time.monotonic(), _processor_times()
        if times is None or self._before is None:
            return
        busy, whole = (new - old for new, old in zip(times, self._before, strict=True))
        if whole > 0 and (now - self._at >= _SHORTEST_S or not self._utilization):
            self._utilization = min(1.0, max(0.0, busy / whole))
            self._at, self._before = now, times
        yield _single("nv_cpu_utilization", "Utilization of all processors since the last look at it, up to 1", self._utilization)


def _processor_times() -> tuple[int, int] | None:
    """Return for how long all processors have computed, and have existed, in the kernel's ticks; None where it does not say."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            times = [int(each) for each in file.readline().split()[1:9]]  # guests' times are part of the first two
    except OSError:
        return None
    idle = sum(times[3:5])
    return sum(times) - idle, sum(times)


def _has_driver() -> bool:
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return False
    return True


#: name, help, kind, and value of a GPU by functions of NVML
_OF_GPU: tuple[tuple[str, str, str, Callable[[Any, Any], float]], ...] = (
    ("nv_gpu_utilization", "GPU utilization, up to 1", _GAUGE, lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100),
    ("nv_gpu_memory_total_bytes", "Memory of the GPU", _GAUGE, lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total),
    ("nv_gpu_memory_used_bytes", "Used memory of the GPU", _GAUGE, lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used),
    ("nv_gpu_power_usage", "Power that the GPU takes in watts", _GAUGE, lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3),
    ("nv_gpu_power_limit", "Most power of the GPU in watts", _GAUGE, lambda nvml, gpu: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1e3),
    (
        "nv_energy_consumption",
        "Energy that the GPU took since the first scrape, in joules",
        _COUNTER,
        lambda nvml, gpu: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3,
    ),
)
_ENERGY = "nv_energy_consumption"


class _Gpus:
    """GPUs as NVIDIA's driver sees them, if there are any and its Python package is installed.

    They are looked for at the first scrape, as the driver may take its time.
    """

    def __init__(self) -> None:
        self._nvml: Any = None
        self._has_looked = False
        self._gpus: dict[str, Any] = {}  # by their ids
        self._energy: dict[str, float] = {}  # at that time

    def _open(self) -> None:
        try:
            self._nvml = nvml = import_module("pynvml")
            nvml.nvmlInit()
            for index in range(nvml.nvmlDeviceGetCount()):
                gpu = nvml.nvmlDeviceGetHandleByIndex(index)
                self._gpus[str(nvml.nvmlDeviceGetUUID(gpu))] = gpu
        except ModuleNotFoundError:
            log.info("/metrics has no metrics of GPUs; for those run: pip install 'hubserve[gpu-metrics]'")
        except self._nvml.NVMLError as error:
            log.warning("/metrics has no metrics of GPUs: %s", error)
        self._energy = dict(self._values(_OF_GPU[-1][3]))

    def families(self) -> Iterator[Metric]:
        if not self._has_looked:
            self._has_looked = True
            if _has_driver():
                self._open()
        for name, text, kind, value in _OF_GPU if self._gpus else ():
            family = Metric(name, text, kind)
            for uuid, found in self._values(value):
                family.add_sample(name, {"gpu_uuid": uuid}, found - self._energy.get(uuid, 0.0) if name == _ENERGY else found)
            yield family

    def _values(self, value: Callable[[Any, Any], float]) -> Iterator[tuple[str, float]]:
        """Yield the ids of the GPUs that have a value, and the value."""
        for uuid, gpu in self._gpus.items():
            try:
                yield uuid, float(value(self._nvml, gpu))
            except self._nvml.NVMLError:  # not every GPU has everything, and one may be lost
                continue
