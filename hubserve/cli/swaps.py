"""What running servers do with modules that change under them, for people to read."""

from collections.abc import Iterator
from typing import Any

from hubserve.errors import HubError
from hubserve.server import control, pidfile


def tell_servers(name: str, version: str) -> Iterator[dict[str, Any]]:
    """Tell every server of this home that a version was installed; those that serve it without naming another version swap to it.

    Returns:
        As they come, the servers' answers, with their ``port``.
    """
    for port in pidfile.running_servers():
        try:
            for told in control.ask(port, {"op": "installed", "module": name, "version": version}):
                if told["state"] != "unchanged":
                    yield {**told, "port": port}
        except HubError as error:  # the installation stands, whatever a server says
            yield {"module": name, "version": version, "was": "", "state": "kept", "error": error.message, "port": port}


def swap_text(told: dict[str, Any]) -> str:
    """One line about one module of one server."""
    where = f"server on port {told['port']}: " if "port" in told else ""
    name, version, was = told["module"], told["version"], told["was"]
    if told["error"]:
        return f"{where}{name} {was or version} is kept: {told['error']}"
    if told["state"] == "unloaded":
        return f"{where}{name} {was} is no longer served"
    if not was:
        return f"{where}{name} {version} is served"
    return f"{where}{name} {version} answers now" + (f", in place of {was}" if was != version else ", loaded again")
