"""Measured server: a running one and its status, or one that is started for the measurement."""

import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from hubserve.bench.loops import Place
from hubserve.bench.processes import python_command
from hubserve.errors import LoadFailed, ModuleNotFound, Unavailable
from hubserve.instance.parent_death import die_with_parent
from hubserve.paths import home
from hubserve.registry.instance_command import instance_environment

_ANSWER_TIMEOUT_S = 10
_START_TIMEOUT_S = 600
_STOP_TIMEOUT_S = 60
_POLL_S = 0.05
_SHOWN_LINES = 5
_SHOWN_BYTES = 1000
_FORBIDDEN = 403


class Target(NamedTuple):
    """Served module.

    Attributes:
        place: where its server listens.
        hubserve: the server's version.
        module: the server's status of it.
        gateway_pid: the server's process; 0 where it is on another machine, or not this user's.
    """

    place: Place
    hubserve: str
    module: dict[str, Any]
    gateway_pid: int = 0

    @property
    def address(self) -> str:
        """URL of the module."""
        return f"{url(self.place)}/predict/{self.module['name']}"

    @property
    def instance_pids(self) -> list[int]:
        """Process ids of its instances, on the server's machine."""
        return [each["pid"] for each in self.module["instances"] if each["pid"]]


def url(place: Place) -> str:
    """Return a server's address."""
    return f"http://{'[' + place.host + ']' if ':' in place.host else place.host}:{place.port}"


def look(place: Place, name: str, version: str | None = None, gateway_pid: int = 0) -> Target:
    """Ask a server for a module.

    Args:
        place: where it listens.
        name: the module's.
        version: the one that is wanted; None for any.
        gateway_pid: the server's process, where it is known.
    Raises:
        Unavailable: no server answers there, or the module is not ready.
        ModuleNotFound: the module, or that version of it, is not served there.
    """
    status = _get(f"{url(place)}/status")
    if not isinstance(status, dict) or not isinstance(status.get("modules"), list):
        raise Unavailable(f"what answers at {url(place)} is no hub server. Give the port of one with -p.")
    served = {each["name"]: each for each in status["modules"]}
    if name not in served:
        raise ModuleNotFound(f"module '{name}' is not served at {url(place)}; served are {', '.join(served) or 'none'}")
    module = served[name]
    if version not in (None, module["version"]):
        raise ModuleNotFound(f"module '{name}' version {version} is not served at {url(place)}; version {module['version']} is")
    if not module["ready"]:
        raise Unavailable(f"module '{name}' at {url(place)} is not ready: {module['reason']}. Try again when it is.")
    return Target(place, str(status.get("hubserve", "")), module, gateway_pid)


def _get(address: str) -> Any:
    try:
        with urllib.request.urlopen(address, timeout=_ANSWER_TIMEOUT_S) as answer:  # noqa: S310 - always http
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == _FORBIDDEN:
            said = error.read(_SHOWN_BYTES).decode("utf-8", "replace")
            raise Unavailable(f"the server at {address} does not tell this client about its modules: {said}") from None
        raise Unavailable(f"what answers at {address} is no hub server (HTTP {error.code}). Give the port of one with -p.") from None
    except ValueError:
        raise Unavailable(f"what answers at {address} is no hub server. Give the port of one with -p.") from None
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        raise Unavailable(
            f"no server answers at {address}: {reason}. Start one with 'hub serving start -m NAME', or leave -p out to have one started"
        ) from None


@contextmanager
def started(reference: str, workers: int | None, port_of: Callable[[int], int]) -> Iterator[tuple[Place, int]]:
    """Start a server of one module on a free port of this machine; stop it afterwards.

    Args:
        reference: what ``hub serving start -m`` takes.
        workers: how many instances; None for one.
        port_of: finds the port that the server of a process id listens on; 0 until it does.
    Yields:
        Where it listens, once its module is ready, and its process id.
    Raises:
        LoadFailed: it ended, or was not ready in time; with its last words.
    """
    options = ["-w", str(workers)] if workers else []
    command = python_command("hubserve", "serving", "start", "-m", reference, "-p", "0", *options)
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command,
            env=instance_environment(home(), []),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the measuring alone, which then stops the server
            preexec_fn=die_with_parent,  # noqa: PLW1509 - no other thread runs here
        )
        try:
            yield Place("127.0.0.1", _wait(server, port_of, log)), server.pid
        finally:
            _stop(server)


def _wait(server: "subprocess.Popen[bytes]", port_of: Callable[[int], int], log: Any) -> int:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise _not_started(f"it ended with status {server.returncode}", log)
        port = port_of(server.pid)
        if port and _is_ready(port):
            return port
        time.sleep(_POLL_S)
    raise _not_started(f"it was not ready within {_START_TIMEOUT_S} s", log)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=_ANSWER_TIMEOUT_S):
            return True
    except OSError:  # 503 while it loads, too
        return False


def _not_started(what: str, log: Any) -> LoadFailed:
    log.seek(0)
    text = log.read().decode("utf-8", "replace")
    last = [line.removeprefix("hub: ") for line in text.splitlines() if line.strip()][-_SHOWN_LINES:]
    return LoadFailed(f"the server did not start: {what}; {last[-1] if last else 'it said nothing'}", text)


def _stop(server: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if server.poll() is None:
            os.kill(server.pid, number)
        try:
            server.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
        return
