"""Remembers which process serves which port: ``conf/serving_<port>.json``, as PaddleHub writes it."""

import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from hubserve.home import conf_dir


class Running(NamedTuple):
    """A server that runs.

    Attributes:
        pid: its process.
        modules: the names that it was started with.
        start_time: seconds since the epoch.
    """

    pid: int
    modules: list[str]
    start_time: float


def path_for(port: int) -> Path:
    """The file of the server on a port."""
    return conf_dir() / f"serving_{port}.json"


def write(port: int, modules: list[str]) -> None:
    """Note this process as the server on a port."""
    path = path_for(port)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps({"pid": os.getpid(), "module": modules, "start_time": time.time()}), "utf-8")
    partial.replace(path)


def remove(port: int) -> None:
    """Forget this process; a file that another server has written since is left alone."""
    running = _read(port)
    if running and running.pid == os.getpid():
        path_for(port).unlink(missing_ok=True)


def find(port: int) -> Running | None:
    """The server that runs on a port; None if there is none, or the file is left over from one that was killed."""
    running = _read(port)
    return running if running and _is_server(running.pid) else None


def running() -> dict[int, Running]:
    """Every server that runs, by its port."""
    ports = (path.stem.removeprefix("serving_") for path in sorted(conf_dir().glob("serving_*.json")))
    found = {int(port): find(int(port)) for port in ports if port.isdigit()}
    return {port: server for port, server in found.items() if server}


def _read(port: int) -> Running | None:
    try:
        raw = json.loads(path_for(port).read_text("utf-8"))
        return Running(int(raw["pid"]), [str(each) for each in raw["module"]], float(raw["start_time"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_server(pid: int) -> bool:
    """Whether a process of that id is a hub server; ids are used again after a crash or a reboot."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"serving" in words and b"start" in words
