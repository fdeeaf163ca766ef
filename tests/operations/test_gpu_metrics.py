"""Metrics of GPUs, by NVIDIA's Python package and a library compiled here that stands in for the driver's: it needs no GPU."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")

#: two GPUs, the second of which does not know its power; each look at the energy finds 250 J more
LIBRARY = r"""
#include <stdio.h>
#include <string.h>
typedef struct { unsigned gpu, memory; } utilization;
typedef struct { unsigned long long total, free, used; } memory;
static int devices[2] = {0, 1};
static unsigned long long energy = 1000000;
int nvmlInit_v2(void) { return START; }
int nvmlInitWithFlags(unsigned flags) { return START; }
const char *nvmlErrorString(int code) { return "stand-in error"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = &devices[index]; return 0; }
int nvmlDeviceGetUUID(int *device, char *uuid, unsigned length) { snprintf(uuid, length, "GPU-%d", *device); return 0; }
int nvmlDeviceGetUtilizationRates(int *device, utilization *rates) { rates->gpu = 25 + *device; return 0; }
int nvmlDeviceGetMemoryInfo(int *device, memory *info) { info->total = 8192; info->used = 1024; return 0; }
int nvmlDeviceGetPowerUsage(int *device, unsigned *milliwatts) { *milliwatts = 75500; return *device ? 3 : 0; }
int nvmlDeviceGetEnforcedPowerLimit(int *device, unsigned *milliwatts) { *milliwatts = 300000; return 0; }
int nvmlDeviceGetTotalEnergyConsumption(int *device, unsigned long long *used) { *used = energy; energy += *device ? 250000 : 0; return 0; }
"""
ASK = """
import logging
from hubserve.protocols.machine_metrics import MachineMetrics
logging.basicConfig(format="%(message)s")
for family in MachineMetrics().families():
    for sample in family.samples:
        if "gpu_uuid" in sample.labels:
            print(family.type, sample.name, sample.labels["gpu_uuid"], sample.value)
"""


def ask(folder: Path, start: int) -> "subprocess.CompletedProcess[str]":
    (folder / "nvml.c").write_text(LIBRARY.replace("START", str(start)))
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "nvml.c"], check=True)
    environ = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    return subprocess.run([sys.executable, "-c", ASK], check=True, capture_output=True, text=True, env=environ)


def test_each_gpu_has_its_own_series_and_what_one_does_not_know_is_left_out(tmp_path: Path) -> None:
    assert ask(tmp_path, 0).stdout.splitlines() == [
        "gauge nv_gpu_utilization GPU-0 0.25",
        "gauge nv_gpu_utilization GPU-1 0.26",
        "gauge nv_gpu_memory_total_bytes GPU-0 8192.0",
        "gauge nv_gpu_memory_total_bytes GPU-1 8192.0",
        "gauge nv_gpu_memory_used_bytes GPU-0 1024.0",
        "gauge nv_gpu_memory_used_bytes GPU-1 1024.0",
        "gauge nv_gpu_power_usage GPU-0 75.5",
        "gauge nv_gpu_power_limit GPU-0 300.0",
        "gauge nv_gpu_power_limit GPU-1 300.0",
        "counter nv_energy_consumption GPU-0 250.0",
        "counter nv_energy_consumption GPU-1 250.0",
    ]


def test_a_driver_that_does_not_work_leaves_the_rest_and_a_line_in_the_log(tmp_path: Path) -> None:
    done = ask(tmp_path, 9)
    assert done.stdout == ""
    assert "/metrics has no metrics of GPUs: " in done.stderr
    assert "Traceback" not in done.stderr
