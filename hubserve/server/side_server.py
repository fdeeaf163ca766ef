"""Serve HTTP on further addresses: metrics, and the admin surface."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: those of the gateway end with status 0 after draining."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield


class SideServers:
    """HTTP servers beside that of the HTTP port, which start and end with it."""

    def __init__(self) -> None:
        self._servers: list[HttpServer] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, config: uvicorn.Config, listener: socket.socket) -> None:
        """Serve on a listening socket from now on."""
        server = HttpServer(config)
        self._servers.append(server)
        self._tasks.append(asyncio.create_task(server.serve([listener])))

    def stop(self, *, at_once: bool = False) -> None:
        """Accept no more connections, and end once the requests in progress are answered.

        Args:
            at_once: do not wait for requests in progress.
        """
        for server in self._servers:
            server.should_exit = True
            server.force_exit = server.force_exit or at_once

    async def wait(self) -> None:
        """Wait until all have ended; they continue to end if this is cancelled."""
        if self._tasks:
            await asyncio.wait(self._tasks)
