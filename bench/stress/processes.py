"""Memory, processor time and descriptors of processes, read from ``/proc``."""

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_KIB_PER_MB = 1e6 / 1024


def resident_mb(pid: int) -> float:
    """Return the resident memory in MB, shared pages included; 0 if the process has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / _KIB_PER_MB
    return 0.0


def descriptor_count(pid: int) -> int:
    """Return the number of open descriptors.

    Raises:
        OSError: the process has ended.
    """
    return len(os.listdir(f"/proc/{pid}/fd"))


def child_pids(pid: int) -> list[int]:
    """Return all descendants of a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found + [each for child in found for each in child_pids(child)]


def cpu_s(pid: int) -> float:
    """Return the CPU seconds, user and system, since the process began; 0 if it has ended."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return 0.0


@dataclass
class MemoryLog:
    """Resident memory over time.

    Attributes:
        samples: (seconds since the start, progress from 0 to 1, MB of the gateway, pid -> MB of each instance).
    """

    gateway_pid: int
    samples: list[tuple[float, float, float, dict[int, float]]] = field(default_factory=list)
    _start_s: float = field(default_factory=time.perf_counter)

    def take(self, progress: float, instance_pids: Iterable[int]) -> None:
        """Add a sample."""
        instances = {pid: resident_mb(pid) for pid in instance_pids}
        self.samples.append((time.perf_counter() - self._start_s, progress, resident_mb(self.gateway_pid), instances))

    def gateway_mb(self, since: float = 0.0, until: float = 1.0) -> list[float]:
        """Return the gateway's samples between two points of progress."""
        return [gateway for _, progress, gateway, _ in self.samples if since <= progress <= until]

    def instances_mb(self, since: float = 0.0, until: float = 1.0) -> list[float]:
        """Return the sums over all instances between two points of progress."""
        return [sum(instances.values()) for _, progress, _, instances in self.samples if since <= progress <= until]

    def peak_instance_mb(self) -> float:
        """Return the largest memory of any one instance."""
        return max((mb for *_, instances in self.samples for mb in instances.values()), default=0.0)

    def to_json(self) -> list[dict[str, object]]:
        """Return every sample, for plotting."""
        return [
            {"time_s": round(at, 2), "progress": round(progress, 4), "gateway_mb": round(gateway, 2), "instances_mb": instances}
            for at, progress, gateway, instances in self.samples
        ]
