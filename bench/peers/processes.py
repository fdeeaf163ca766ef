"""Process groups of servers: start, measure and stop one as a whole."""

import os
import signal
import subprocess
import time
from pathlib import Path

_TERM_TIMEOUT_S = 30.0
_FAMILY_TIMEOUT_S = 3.0
_POLL_S = 0.05


def start(command: list[str], environ: dict[str, str], folder: Path, log: Path) -> "subprocess.Popen[bytes]":
    """Start a server in a session of its own, so that Ctrl-C is for this script alone and the server is ended in order."""
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop a server and all that it started, gracefully first."""
    family = [(pid, _started(pid)) for pid in tree(process.pid)]
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_TERM_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    # those that clean up behind the server, such as Python's resource tracker, end by themselves
    if not _have_ended(family, _FAMILY_TIMEOUT_S):
        for pid, started in family:
            if _runs(pid, started):
                os.kill(pid, signal.SIGKILL)
        _have_ended(family, _TERM_TIMEOUT_S)


def _have_ended(family: list[tuple[int, str | None]], timeout_s: float) -> bool:
    """Wait until all have ended; return False after the timeout."""
    deadline = time.monotonic() + timeout_s
    while any(_runs(pid, started) for pid, started in family):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _runs(pid: int, started: str | None) -> bool:
    """Return whether the same process still runs; its number may belong to another one since."""
    return started is not None and _started(pid) == started


def tree(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def memory_bytes(root: int) -> int:
    """Return the memory of a process and its descendants: proportional set sizes, in which shared memory counts once."""
    return sum(_memory(pid) for pid in tree(root))


def _memory(pid: int) -> int:
    try:
        return _kilobytes(Path(f"/proc/{pid}/smaps_rollup").read_text(), "Pss:") * 1024
    except (OSError, ValueError):
        pass
    try:  # a kernel without it: resident memory, in which what is shared counts for each
        return _kilobytes(Path(f"/proc/{pid}/status").read_text(), "VmRSS:") * 1024
    except (OSError, ValueError):
        return 0  # it has ended


def _kilobytes(text: str, key: str) -> int:
    for line in text.splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    raise ValueError(f"no line of {key}")


def _started(pid: int) -> str | None:
    """Return a process's start in clock ticks since boot, or None if it has ended."""
    fields = _stat(pid)
    return fields[19] if fields and fields[0] != "Z" else None


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the third, the state, on; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
