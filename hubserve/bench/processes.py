"""Resource usage of a server's processes, and the machine, from ``/proc``."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def tree(root: int) -> list[int]:
    """Return a process and all its live descendants; empty if it has ended."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root] if _stat(root) else []
    for pid in found:  # grows while it is read
        found += children.get(pid, [])
    return found


def cpu_s(pids: list[int]) -> float:
    """Return the processor time of processes in seconds, including ended children."""
    return sum(sum(map(int, fields[11:15])) for pid in pids if (fields := _stat(pid))) / _TICKS_PER_S


def resident_bytes(pids: list[int]) -> int:
    """Return the sum of resident memory; shared memory counts in each process."""
    return sum(_resident_pages(pid) for pid in pids) * _PAGE_BYTES


def _stat(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` from the third, the state, on; empty if there is no such process."""
    try:
        return (_PROC / str(pid) / "stat").read_text("latin-1").rpartition(") ")[2].split()
    except OSError:
        return []


def _resident_pages(pid: int) -> int:
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0


def environ(pid: int) -> dict[str, str]:
    """Return the environment that a process of this user was started with.

    Raises:
        OSError: it has ended, or is another user's.
    """
    raw = (_PROC / str(pid) / "environ").read_bytes()
    pairs = (os.fsdecode(each).partition("=") for each in raw.split(b"\0") if b"=" in each)
    return {name: value for name, _, value in pairs}


def words(pid: int) -> list[str]:
    """Return the command line of a process.

    Raises:
        OSError: it has ended.
    """
    return [os.fsdecode(each) for each in (_PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")]


def working_directory(pid: int) -> Path:
    """Return the working directory of a process of this user.

    Raises:
        OSError: it has ended, or is another user's.
    """
    return Path(os.readlink(_PROC / str(pid) / "cwd"))


class Usage(NamedTuple):
    """Resource usage of a server in one round.

    Attributes:
        cpu_s: processor time of all its processes.
        resident_bytes: their memory, at the end.
    """

    cpu_s: float
    resident_bytes: int


class Meter:
    """Meter of a server's processes between two moments.

    Args:
        root: the gateway's process id.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._pids = tree(root)
        self._before = 0.0
        self.usage = Usage(0.0, 0)

    def __call__(self, begins: bool) -> None:
        """Record the start or the end."""
        if begins:
            self._before = cpu_s(self._pids)
            return
        self._pids = tree(self._root)
        self.usage = Usage(cpu_s(self._pids) - self._before, resident_bytes(self._pids))


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs one of hubserve's modules in this Python."""
    # Without -P the working directory would be searched first, and a stray json.py there would be imported instead of the real one.
    isolation = ["-P"] if sys.version_info >= (3, 11) else []
    return [sys.executable, *isolation, "-m", module, *arguments]


def machine() -> dict[str, object]:
    """Return the processor's name and the cores that this process may use."""
    model = ""
    try:
        lines = (_PROC / "cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        pass
    return {"cpu": model or "unknown", "cores": len(os.sched_getaffinity(0))}
