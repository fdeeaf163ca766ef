"""Record which process serves which port: ``conf/serving_<port>.json``, as PaddleHub writes it.

A server holds a lock on its file (``flock``) while it runs, so that the kernel knows whether it does. A file alone proves nothing: it
outlives a killed server, and process ids are reused.
"""

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from hubserve.paths import conf_dir

log = logging.getLogger("hubserve")

#: fields of /proc/<pid>/stat after the command's name: the state, and when the process started
_STATE, _START = 0, 19


class Process(NamedTuple):
    """A process, distinguished from later ones with the same id.

    Attributes:
        pid: its id.
        start_ticks: when it started, in clock ticks since boot.
    """

    pid: int
    start_ticks: int

    @property
    def is_alive(self) -> bool:
        """Return True if it still runs."""
        return find_process(self.pid) == self


class Running(NamedTuple):
    """A running server.

    Attributes:
        process: its process.
        modules: names of the modules that it was started with.
        start_time: seconds since the epoch.
    """

    process: Process
    modules: list[str]
    start_time: float

    @property
    def pid(self) -> int:
        """Return the id of its process."""
        return self.process.pid


def path_for(port: int) -> Path:
    """Return the file of the server on a port."""
    return conf_dir() / f"serving_{port}.json"


@contextlib.contextmanager
def held(port: int, modules: list[str]) -> Iterator[None]:
    """Record this process as the server on a port, until the ``with`` block ends."""
    path = path_for(port)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            log.warning("'%s' cannot be locked (%s), so that 'hub serving stop' will not find this server", path, error.strerror)
        json.dump({"pid": os.getpid(), "module": modules, "start_time": time.time()}, file)
        file.flush()
        with _lock_folder():
            partial.replace(path)
        try:
            yield
        finally:
            _remove(path, file)


def find(port: int) -> Running | None:
    """Return the running server of a port.

    Returns:
        The server; None if no process holds the file's lock, or its holder is not the process that the file names.
    """
    try:
        with path_for(port).open(encoding="utf-8") as file:
            recorded = _read(file)
            process = find_process(recorded.pid) if recorded else None
            # checked last: then the process found before is the one that holds the lock
            if recorded is None or process is None or not _has_open(process.pid, file) or not _is_locked(file):
                return None
            return Running(process, recorded.modules, recorded.start_time)
    except OSError:
        return None


def find_unproven(port: int) -> int | None:
    """Return the id of a process that a file names without proof that it is the server; None if no such process runs."""
    try:
        with path_for(port).open(encoding="utf-8") as file:
            recorded = _read(file)
    except OSError:
        return None
    return recorded.pid if recorded and find_process(recorded.pid) else None


def remove_stale(port: int) -> None:
    """Delete the file that a killed server left behind, unless a process of the id in it runs."""
    path = path_for(port)
    with contextlib.suppress(OSError), path.open(encoding="utf-8") as file:
        if not _is_locked(file) and find_unproven(port) is None:
            _remove(path, file)


def running_servers() -> dict[int, Running]:
    """Return the running servers of this home, by port."""
    ports = [int(path.stem.partition("_")[2]) for path in conf_dir().glob("serving_*.json") if path.stem.partition("_")[2].isdigit()]
    return {port: running for port in sorted(ports) if (running := find(port))}


def find_process(pid: int) -> Process | None:
    """Return the process with an id; None if there is none, or it has ended and only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[_STATE] in "ZX" else Process(pid, int(fields[_START]))


class _Record(NamedTuple):
    pid: int
    modules: list[str]
    start_time: float


def _read(file: IO[str]) -> _Record | None:
    try:
        raw = json.load(file)
        return _Record(int(raw["pid"]), [str(each) for each in raw["module"]], float(raw["start_time"]))
    except (ValueError, KeyError, TypeError):
        return None


def _is_locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _has_open(pid: int, file: IO[str]) -> bool:
    """Return True if a process has this very file open, as the one that locked it has."""
    ours = os.fstat(file.fileno())
    try:
        with os.scandir(f"/proc/{pid}/fd") as opened:
            return any(_is_file(each.path, ours) for each in opened)
    except OSError:  # the process has ended, or is another user's
        return False


def _is_file(path: str, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), wanted)
    except OSError:
        return False


def _remove(path: Path, file: IO[str]) -> None:
    """Delete a file by its path, unless another server has replaced it."""
    with contextlib.suppress(OSError), _lock_folder():
        if os.path.samestat(path.stat(), os.fstat(file.fileno())):
            path.unlink()


@contextlib.contextmanager
def _lock_folder() -> Iterator[None]:
    """Keep other processes from adding or removing files in the meantime."""
    folder = os.open(conf_dir(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: two servers would have to start at the same moment
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
