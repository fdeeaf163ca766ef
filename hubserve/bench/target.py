"""Measured server: a running one and its status, or one that is started for the measurement."""

import json
import os
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from hubserve.bench.loops import ServerAddress
from hubserve.bench.processes import python_command
from hubserve.errors import HubError, LoadFailed, ModuleNotFound, Unavailable
from hubserve.instance.parent_death import die_with_parent
from hubserve.paths import home
from hubserve.registry.instance_command import instance_environment
from hubserve.server import admin_socket
from hubserve.wire.client_tls import PLAIN_REFUSED

_ANSWER_TIMEOUT_S = 10
_START_TIMEOUT_S = 600
_STOP_TIMEOUT_S = 60
_POLL_S = 0.05
_SHOWN_LINES = 5
_SHOWN_BYTES = 1000
#: of servers that report their modules to others only
_REFUSED = (401, 403)


class Target(NamedTuple):
    """Served module.

    Attributes:
        server: address of its server.
        hubserve: its version.
        module: the server's status of it.
        gateway_pid: the server's process; 0 where it is on another machine, or not this user's.
    """

    server: ServerAddress
    hubserve: str
    module: dict[str, Any]
    gateway_pid: int = 0

    @property
    def address(self) -> str:
        """URL of the module."""
        return f"{url(self.server)}/predict/{self.module['name']}"

    @property
    def instance_pids(self) -> list[int]:
        """Process ids of its instances, on the server's machine."""
        return [each["pid"] for each in self.module["instances"] if each["pid"]]


def url(server: ServerAddress) -> str:
    """Return a server's address."""
    scheme = "https" if server.tls else "http"
    return f"{scheme}://{'[' + server.host + ']' if ':' in server.host else server.host}:{server.port}"


def find_target(server: ServerAddress, name: str, version: str | None = None, gateway_pid: int = 0, api_key: str = "") -> Target:
    """Find a module on a running server.

    Args:
        server: its address.
        name: the module's.
        version: the requested one; None for any.
        gateway_pid: the server's process, if it is one of this user's home.
        api_key: of an admin, for a server with keys that is another user's or on another machine; "" for none.
    Raises:
        Unavailable: no server answers there, or the module is not ready.
        ModuleNotFound: the module, or that version of it, is not served there.
    """
    status = (gateway_pid and _local_status(server.port)) or _get(f"{url(server)}/status", server.tls, api_key)
    if not isinstance(status, dict) or not isinstance(status.get("modules"), list):
        raise Unavailable(f"the server at {url(server)} is not a hub server. Give the port of one with -p.")
    served = {each["name"]: each for each in status["modules"]}
    if name not in served:
        raise ModuleNotFound(f"module '{name}' is not served at {url(server)}; served are {', '.join(served) or 'none'}")
    module = served[name]
    if version not in (None, module["version"]):
        raise ModuleNotFound(f"module '{name}' version {version} is not served at {url(server)}; version {module['version']} is")
    if not module["ready"]:
        raise Unavailable(f"module '{name}' at {url(server)} is not ready: {module['reason']}. Try again when it is.")
    return Target(server, str(status.get("hubserve", "")), module, gateway_pid)


def _local_status(port: int) -> dict[str, Any] | None:
    """Return the status of a server of this user's home, wherever it has its admin surface; None if it does not answer."""
    try:
        return next(admin_socket.ask(port, {"op": "status"}), None)
    except HubError:  # it is starting or ending
        return None


def _get(address: str, tls: ssl.SSLContext | None, api_key: str) -> Any:
    request = urllib.request.Request(address)  # noqa: S310 - always http or https
    if api_key:
        request.add_unredirected_header("X-API-Key", api_key)
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_TIMEOUT_S, context=tls) as answer:  # noqa: S310 - as above
            return json.load(answer)
    except urllib.error.HTTPError as error:
        said = error.read(_SHOWN_BYTES).decode("utf-8", "replace")
        if PLAIN_REFUSED in said:
            raise Unavailable(
                f"the server at {address} is encrypted. Give --cacert with its authority's certificate, or --https."
            ) from None
        if error.code in _REFUSED:
            raise Unavailable(f"the server at {address} does not report its modules to this client: {said}") from None
        raise Unavailable(f"the server at {address} is not a hub server (HTTP {error.code}). Give the port of one with -p.") from None
    except ValueError:
        raise Unavailable(f"the server at {address} is not a hub server. Give the port of one with -p.") from None
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        raise Unavailable(
            f"no server answers at {address}: {reason}. Start one with 'hub serving start -m NAME', or leave -p out to have one started"
        ) from None


@contextmanager
def started_server(reference: str, workers: int | None, port_of: Callable[[int], int]) -> Iterator[tuple[ServerAddress, int]]:
    """Start a server of one module on a free port of this machine; stop it afterwards.

    Args:
        reference: the value of ``hub serving start -m``.
        workers: how many instances; None for one.
        port_of: finds the port that the server of a process id listens on; 0 until it does.
    Yields:
        Its address, once its module is ready, and its process id.
    Raises:
        LoadFailed: it ended, or was not ready in time; with the end of its log.
    """
    options = ["-w", str(workers)] if workers else []
    command = python_command("hubserve", "serving", "start", "-m", reference, "-p", "0", *options)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            env=instance_environment(home(), []),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C goes to the measuring process only, which then stops the server
            preexec_fn=die_with_parent,  # noqa: PLW1509 - no other thread runs here
        )
        try:
            yield ServerAddress("127.0.0.1", _wait(process, port_of, log)), process.pid
        finally:
            _stop(process)


def _wait(process: "subprocess.Popen[bytes]", port_of: Callable[[int], int], log: Any) -> int:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _not_started(f"it ended with status {process.returncode}", log)
        port = port_of(process.pid)
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
    return LoadFailed(f"the server did not start: {what}; {last[-1] if last else 'its log is empty'}", text)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.kill(process.pid, number)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
        return
