"""A real server with a home of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from . import protection

ROOT = Path(__file__).resolve().parent.parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.conftest import Server, free_port, hub  # noqa: E402 - found only once the path is set

__all__ = ["ROOT", "Server", "add_server_options", "copy_module", "folder_of", "free_port", "hub", "running_server"]

MODULES = ROOT / "bench" / "modules"


def folder_of(name: str) -> str:
    """Return the folder of one of the benchmarks' own modules."""
    return str(MODULES / name)


def add_server_options(parser: Any) -> None:
    """Declare the options that every stress program has."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--guarded", action="store_true", help="with TLS, keys, metrics, traces and the access log, which change while the load lasts"
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="keep the server's log in this file")


def copy_module(source: str, target: Path, *, name: str, version: str) -> Path:
    """Copy one of the benchmarks' modules under another name and version; return ``target``."""
    shutil.copytree(MODULES / source, target, ignore=shutil.ignore_patterns("__pycache__"))
    file = target / "module.py"
    text = file.read_text("utf-8")
    text = text.replace(f'name="{source}", version="1.0.0"', f'name="{name}", version="{version}"')
    file.write_text(text, "utf-8")
    return target


@contextmanager
def running_server(
    modules: dict[str, Any], *, folder: Path | None = None, log: Path | None = None, guarded: bool = False, **settings: Any
) -> Iterator[Server]:
    """Start ``hub serving start -c config.json`` and end it afterwards.

    Args:
        modules: ``modules_info``.
        folder: where config, home and log go; a temporary one where None.
        log: where the server's log is copied afterwards.
        guarded: with everything on that :mod:`stress.protection` knows.
        settings: more keys of the config; raw requests may call the server ``x`` or ``here``.
    """
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        place = folder or Path(temporary)
        port = free_port()
        if guarded:
            settings |= stack.enter_context(protection.current.set_up(place))
        config = place / "config.json"
        config.write_text(json.dumps({"modules_info": modules, "port": port, "allowed_hosts": ["x", "here"], **settings}))
        server = Server(["-c", str(config)], port, place / "home", place / "server.log")
        server.url, server.headers = f"{protection.current.scheme}://127.0.0.1:{port}", protection.current.headers
        try:
            server.wait_until_ready()
            yield server
        finally:
            _end(server)
            if log:
                shutil.copyfile(server.log, log)


def _end(server: Server) -> None:
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(40)
    except subprocess.TimeoutExpired:
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
