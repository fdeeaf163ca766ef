"""Notices to running servers about changed modules, and their answers as text."""

from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

from hubserve.errors import HubError
from hubserve.server import admin_socket, pidfile


def notify_servers(name: str, version: str) -> Iterator[dict[str, Any]]:
    """Notify every server of this home of an installed version; those that serve the module without pinning another version swap to it.

    Returns:
        As they come, the servers' answers, with their ``port``.
    """
    for port in pidfile.running_servers():
        yield from _notify(port, {"op": "installed", "module": name, "version": version})


def notify_removed(name: str, ports: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Notify servers of removed versions of a module: they serve an installed one, or unload the module.

    Returns:
        As they come, when the last request to what was uninstalled is answered, the servers' answers, with their ``port``.
    """
    for port in ports:
        yield from _notify(port, {"op": "removed", "module": name})


def _notify(port: int, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        for notice in admin_socket.ask(port, request):
            if notice["state"] != "unchanged":
                yield {**notice, "port": port}
    except HubError as error:  # what is installed stands, whatever a server says
        version = request.get("version", "")
        yield {"module": request["module"], "version": version, "was": "", "state": "kept", "error": error.message, "port": port}


def serving_ports(folder: Path, versions: Container[str]) -> list[int]:
    """Return the ports of this home's servers that serve any of these versions from a module's folder in the store."""
    return [port for port in pidfile.running_servers() if any(_is_one_of(notice, folder, versions) for notice in _served(port))]


def _is_one_of(notice: dict[str, Any], folder: Path, versions: Container[str]) -> bool:
    return Path(notice["folder"]).parent == folder and notice["version"] in versions


def _served(port: int) -> list[dict[str, Any]]:
    try:
        return list(admin_socket.ask(port, {"op": "served"}))
    except HubError:  # it is just starting or ending; the files that it runs are not deleted under it
        return []


def report_swaps(swaps: Iterable[dict[str, Any]]) -> bool:
    """Print a line for each answer as it arrives; return whether any reports a failure."""
    failed = False
    for notice in swaps:
        print(swap_text(notice), flush=True)
        failed = failed or bool(notice["error"])
    return failed


def swap_text(notice: dict[str, Any]) -> str:
    """Return one line about one module of one server."""
    where = f"server on port {notice['port']}: " if "port" in notice else ""
    name, version, was = notice["module"], notice["version"], notice["was"]
    if notice["error"]:
        return f"{where}{name} {was or version} is kept: {notice['error']}"
    if notice["state"] == "unloaded":
        return f"{where}{name} {was} is no longer served"
    if not was:
        return f"{where}{name} {version} is served"
    return f"{where}{name} {version} answers now" + (f", in place of {was}" if was != version else ", loaded again")
