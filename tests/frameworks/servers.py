"""Servers started by a command line, as a user types it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.conftest import Server, wait_for
from tests.ports import free_port


@contextlib.contextmanager
def command_lines(home: Path, folder: Path) -> Iterator[Callable[..., Server]]:
    """A function that runs ``hub serving start`` with its arguments, on a free port; all servers are ended afterwards."""
    started: list[Server] = []

    def start(*arguments: object, wait: bool = True, **environ: str) -> Server:
        port = free_port()
        log = folder / f"server-{port}.log"
        server = Server([*map(str, arguments), "-p", str(port), "--grpc-port", str(port)], port, home, log, **environ)
        started.append(server)
        return server.wait_until_ready() if wait else server

    try:
        yield start
    finally:
        for server in started:
            server.process.kill()
            server.process.wait(60)


def wait_until_loaded(server: Server, timeout_s: float = 240) -> Server:
    """Wait until a server has tried every model; those that it could not load are in its log, and in ``/health/ready``."""

    def has_tried() -> bool:
        text = server.log.read_text()
        return "loaded in" in text or "no model is loaded" in text or server.process.poll() is not None

    wait_for(has_tried, timeout_s)
    assert server.process.poll() is None, f"the server ended:\n{server.log.read_text()}"
    return server
