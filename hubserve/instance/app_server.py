"""Serve the web page of a module's ``create_gradio_app`` at a local port, to which the gateway forwards requests."""

import inspect
import json
import os
import socket
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Dict, List

from hubserve.errors import HubError, LoadFailed, MissingDependency, to_wire
from hubserve.instance.output import write_error
from hubserve.kinds.base import Kind, LoadedModule
from hubserve.kinds.module_failures import as_failure

HOST = "127.0.0.1"
_TRIES = 3
_CONNECT_EVERY_S = 0.05


def serve_app(sock: socket.socket, kind: Kind, order: Dict[str, Any]) -> int:
    """Load a module and serve its page until the gateway closes the socket; return the exit status.

    Args:
        sock: connected to the gateway; gets one line, ``{"port": number}`` or ``{"error": ...}``.
        kind: the module's.
        order: ``folder``, ``import_name``, ``init_args`` and ``defaults`` as for :meth:`hubserve.kinds.base.Kind.load`, ``scratch``, the
            working directory of the page, and ``root_path``, its path for clients.
    """
    try:
        module = kind.load(Path(order["folder"]), order["import_name"], order["init_args"], order["defaults"])
        answer: Dict[str, Any] = {"port": _launch(_create(module), order["scratch"], order["root_path"])}
    except BaseException as error:
        failure = error if isinstance(error, HubError) else as_failure(error)
        if failure.detail:
            write_error(failure.detail)
        answer = {"error": to_wire(failure)}
    sock.sendall(json.dumps(answer).encode() + b"\n")
    if "port" in answer:
        sock.recv(1)
    return 0 if "port" in answer else 1


def _create(module: LoadedModule) -> Any:
    """Call the module's method, with advice for the errors of a missing or newer gradio."""
    try:
        return module.create_app()
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise MissingDependency(
            "gradio is not installed in the module's environment. Add 'gradio' to the module's requirements.txt ('gradio<4' if it uses "
            "gr.inputs or gr.outputs) and install the module again"
        ) from None
    except AttributeError as error:
        if "'gradio'" not in str(error):
            raise
        version = getattr(sys.modules.get("gradio"), "__version__", "unknown")
        raise LoadFailed(
            f"the page was written for another version of gradio than {version}: {error}. For gr.inputs and gr.outputs add 'gradio<4' "
            "to the module's requirements.txt and install the module again"
        ) from None


def _launch(app: Any, scratch: str, root_path: str) -> int:
    """Start the page's server and return its port.

    Older versions of gradio serve any file of their working directory, and write files there, so the page runs in an empty one.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # otherwise it sends usage reports to gradio's servers
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY", ""), HOST, "localhost"]))
    os.chdir(scratch)
    for _ in range(_TRIES - 1):
        port = _free_port()
        with suppress(OSError):  # another program took the port meanwhile
            _launch_at(app, port, root_path)
            return port
    port = _free_port()
    _launch_at(app, port, root_path)
    return port


def _launch_at(app: Any, port: int, root_path: str) -> None:
    options = {
        "server_name": HOST,
        "server_port": port,
        "root_path": root_path,
        "prevent_thread_lock": True,
        "share": False,
        "inbrowser": False,
        "quiet": True,
        "ssr_mode": False,
    }
    parameters = inspect.signature(app.launch).parameters
    has_var_keyword = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    accepted = {key: value for key, value in options.items() if has_var_keyword or key in parameters}
    if "prevent_thread_lock" in accepted:
        app.launch(**accepted)
        _wait_until_open(port, [])
        return
    failed: List[BaseException] = []

    def launch() -> None:
        try:
            app.launch(**accepted)
        except BaseException as error:
            failed.append(error)

    threading.Thread(target=launch, name="launch", daemon=True).start()
    _wait_until_open(port, failed)


def _wait_until_open(port: int, failed: List[BaseException]) -> None:
    """Wait until a server listens at the port; the gateway limits the time."""
    while True:
        if failed:
            raise failed[0]
        with closing(socket.socket()) as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(_CONNECT_EVERY_S)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
