"""A peer's server, from its start to its end."""

import http.client
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.peers import client, processes, wrk
from bench.peers.exchange import Measured, Request, check_once, post
from bench.peers.failures import CannotRun, WrongAnswer
from bench.peers.servers.base import Launch

_START_TIMEOUT_S = 300.0
_POLL_S = 0.1
_CHECKS = 4  # more than one, so that several workers are asked
_DRAIN_S = 0.2


class Server(NamedTuple):
    """A server that answers rightly.

    Attributes:
        port: on this machine.
        request: what it is asked.
        pid: of its first process.
    """

    port: int
    request: Request
    pid: int

    def closed_loop(self, connections: int, seconds: float) -> Measured:
        """Let each connection send its next request when it has its answer, and wait until what it left behind is computed.

        Raises:
            WrongAnswer: an answer was wrong, or a connection broke.
        """
        if wrk.available():
            measured = wrk.closed_loop(self.port, self.request, connections, seconds)
        else:
            measured = client.closed_loop(self.port, self.request, connections, seconds)
        # wrk drops its open requests at its end; the next run must not pay for them
        post(self.port, self.request)
        time.sleep(_DRAIN_S)
        return _faultless(measured)

    def open_loop(self, connections: int, seconds: float, per_second: float) -> Measured:
        """Let requests come at random moments at this rate.

        Raises:
            WrongAnswer: as above, or this client could not keep the rate.
        """
        return _faultless(client.open_loop(self.port, self.request, connections, seconds, per_second))

    def memory_bytes(self) -> int:
        """Return the memory of all its processes."""
        return processes.memory_bytes(self.pid)


def _faultless(measured: Measured) -> Measured:
    if measured.wrong or measured.lost or not measured.requests:
        raise WrongAnswer(f"of {measured.requests} answers {measured.wrong} were wrong or errors, and {measured.lost} requests got none")
    return measured


@contextmanager
def serving(name: str, prepare: Callable[[int, Path], Launch], scratch: Path) -> Iterator[Server]:
    """Start a server on a free port, wait until it answers rightly, and end it with all its processes.

    Args:
        name: what messages call it.
        prepare: given the port and an empty folder, says what to start.
        scratch: where that folder is made.

    Raises:
        CannotRun: it does not start.
        WrongAnswer: it does, and answers wrongly.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder_name:
        folder = Path(folder_name)
        port = free_port()
        launch = prepare(port, folder)
        log = folder / "log"
        process = processes.start(launch.command, launch.environ, folder, log)
        try:
            _wait(name, process, port, launch, log)
            for _ in range(_CHECKS):
                _check(name, port, launch.request)
            yield Server(port, launch.request, process.pid)
        except WrongAnswer as error:
            raise WrongAnswer(f"{name}: {error}\n{_tail(log)}") from None
        finally:
            processes.stop(process)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(name: str, process: "subprocess.Popen[bytes]", port: int, launch: Launch, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _is_ready(port, launch):
        if process.poll() is not None:
            raise CannotRun(f"the server of {name} ended with status {process.returncode}: {_tail(log)}")
        if time.monotonic() > deadline:
            raise CannotRun(f"the server of {name} was not ready within {_START_TIMEOUT_S:g} s: {_tail(log)}")
        time.sleep(_POLL_S)


def _is_ready(port: int, launch: Launch) -> bool:
    try:
        if launch.ready_path is None:
            return post(port, launch.request)[0] == 200
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{launch.ready_path}", timeout=10) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError, http.client.HTTPException):
        return False


def _check(name: str, port: int, request: Request) -> None:
    try:
        check_once(port, request)
    except (OSError, http.client.HTTPException) as error:
        raise WrongAnswer(f"{name} broke off: {error}") from None


def _tail(log: Path) -> str:
    return log.read_text(errors="replace").strip()[-800:]
