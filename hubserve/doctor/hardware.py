"""Checks of this machine's hardware: processor, memory, disk, limits, clock."""

import mmap
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hubserve
from hubserve.doctor.findings import ERROR, NOTE, WARNING, Finding
from hubserve.paths import home
from hubserve.wire.arena import ARENA_BYTES

_MIB = 1 << 20
#: memory of an instance of a typical model
INSTANCE_BYTES = 1 << 30
_USUAL_SOFT_LIMIT = 1024
_DAY_S = 86400.0
_CGROUP = Path("/sys/fs/cgroup")


def check_cpu(cpuinfo: Path = Path("/proc/cpuinfo"), machine: str = "") -> Iterator[Finding]:
    """Check the processor and the instructions that engines use.

    Args:
        cpuinfo: Linux's description.
        machine: its architecture; this one's where "".
    """
    machine = machine or platform.machine()
    lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    wide = [each for each in ("avx", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd", "sve") if each in flags]
    cores = len(os.sched_getaffinity(0))
    yield Finding(
        NOTE,
        "processor",
        f"{model}, {machine}, {cores} of {os.cpu_count()} cores, {' '.join(wide) or 'no vector instructions known'}",
    )
    if machine == "x86_64" and flags and "avx2" not in flags:
        lacks = "AVX2" if "avx" in flags else "AVX, without which Paddle ends with 'Illegal instruction'"
        yield Finding(
            WARNING if "avx" in flags else ERROR,
            "processor",
            f"it has no {lacks}, so engines are several times slower",
            "In a virtual machine, expose the host's processor (for example -cpu host)",
        )


def cpu_quota(cgroup: Path = _CGROUP) -> float | None:
    """Return the number of cores that this container may use; None without a limit."""
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text("ascii").split()
        else:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{each}_us").read_text("ascii").strip() for each in ("quota", "period"))
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def check_quota(cgroup: Path = _CGROUP) -> Iterator[Finding]:
    """Check that a container may use the cores that it sees."""
    quota, cores = cpu_quota(cgroup), len(os.sched_getaffinity(0))
    if quota is not None and quota < cores:
        yield Finding(
            WARNING,
            "cores",
            f"this container sees {cores} cores but may use the time of {quota:g}, so one instance per core would slow all of them down",
            f'Set "workers": {max(1, int(quota))} in config.json, or give the container whole cores (--cpuset-cpus)',
        )


def available_bytes(cgroup: Path = _CGROUP) -> int:
    """Return the memory available to new processes, within the limits of the machine and its container."""
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text("ascii").splitlines() if ":" in line)
    free = int(meminfo["MemAvailable"].split()[0]) * 1024
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        try:
            free = min(free, max(0, int((cgroup / limit).read_text("ascii")) - int((cgroup / used).read_text("ascii"))))
        except (OSError, ValueError):  # no such file, or no limit: "max"
            continue
    return free


def check_memory(wanted_bytes: int = INSTANCE_BYTES) -> Iterator[Finding]:
    """Check that there is memory for an instance."""
    free = available_bytes()
    if free < wanted_bytes:
        yield Finding(
            WARNING,
            "memory",
            f"{free // _MIB} MiB are free, but an instance of a typical model takes {wanted_bytes // _MIB} MiB",
            "Stop other programs, or give this machine or container more memory",
        )
    else:
        yield Finding(NOTE, "memory", f"{free // _MIB} MiB are free")


def check_disk(wanted_bytes: int = INSTANCE_BYTES, needed_bytes: int = 100 * _MIB) -> Iterator[Finding]:
    """Check that there is disk space to install modules.

    Args:
        wanted_bytes: less is a warning.
        needed_bytes: less is an error.
    """
    folder = nearest_existing(home())
    free = shutil.disk_usage(folder).free
    fix = f"Free space with 'hub clear', or set HUB_HOME to a folder on a larger disk; it is {home()}"
    if free < wanted_bytes:
        yield Finding(
            ERROR if free < needed_bytes else WARNING, "disk", f"{free // _MIB} MiB are free where modules are kept", fix, str(home())
        )
    else:
        yield Finding(NOTE, "disk", f"{free // _MIB} MiB are free where modules are kept", file=str(home()))
    inodes = os.statvfs(folder)
    if inodes.f_files and inodes.f_favail < 1000:
        yield Finding(ERROR, "disk", f"there is space for only {inodes.f_favail} more files", fix, str(home()))


def nearest_existing(path: Path) -> Path:
    """Return the path, or its nearest existing parent."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def check_shared_memory() -> Iterator[Finding]:
    """Check that the server can share memory with its instances."""
    fix = "Raise the limits on open files and file sizes (ulimit -n, ulimit -f), or allow memfd_create in the container's seccomp profile"
    try:
        fd = os.memfd_create("hubserve-doctor", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, ARENA_BYTES)
            mmap.mmap(fd, ARENA_BYTES).close()
        finally:
            os.close(fd)
    except OSError as error:
        failure = f"memfd_create of {ARENA_BYTES // _MIB} MiB failed: {error}"
        reason = f"a server cannot share memory with its instances, so it cannot start any: {failure}"
        yield Finding(ERROR, "shared memory", reason, fix)


def check_open_files() -> Iterator[Finding]:
    """Check that a server may open the connections that its settings allow."""
    from hubserve.settings import ServerSettings

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ServerSettings(modules_info={}).max_concurrency + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        yield Finding(
            WARNING if soft < _USUAL_SOFT_LIMIT else NOTE,
            "open files",
            f"a process may have {soft} open files, one per connection, but a server accepts up to {wanted - 256} requests at once",
            f"ulimit -n {wanted if hard == resource.RLIM_INFINITY or hard >= wanted else hard}",
        )


def check_clock() -> Iterator[Finding]:
    """Check that the clock is plausible: certificates and comparisons of times depend on it."""
    now = time.time()
    known = [Path(hubserve.__file__), Path(sys.executable), home(), home() / "modules", home() / "conf"]
    changed_at, newest = max((each.stat().st_mtime, each) for each in known if each.exists())
    if changed_at > now + _DAY_S:
        shown, days = time.strftime("%Y-%m-%d %H:%M", time.gmtime(now)), (changed_at - now) / _DAY_S
        yield Finding(
            WARNING,
            "clock",
            f"it shows {shown} UTC, but '{newest}' was changed {days:.0f} days later",
            "Set the clock (timedatectl set-ntp true)",
        )
