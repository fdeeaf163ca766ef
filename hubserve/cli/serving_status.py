"""``hub serving status``."""

import argparse
import json
from typing import Any

from hubserve.cli.server_request import LOCAL_HOSTS, add_server_options, fetch, json_object, not_ours
from hubserve.errors import HubError
from hubserve.server import admin_socket, pidfile

#: characters of a reason that is shown within the table
_LONGEST_STATE = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_server_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print a server's modules; return the exit status."""
    status = _local_status(args) or _remote_status(args)
    if args.json:
        print(json.dumps(status, ensure_ascii=False, indent=2))
        return 0
    from hubserve.cli.tables import print_table

    print_table(
        ["module", "version", "state", "engine", "queue", "requests", "failed", "instances", "ms by batch"],
        [_status_row(module) for module in status["modules"]],
    )
    for module in status["modules"]:
        if _has_long_reason(module):
            print(f"{module['name']}: {module['reason']}")
    return 0


def _local_status(args: argparse.Namespace) -> dict[str, Any] | None:
    """Return the status of a server of this user's home, on any address and with any ``admin`` setting."""
    if args.host not in LOCAL_HOSTS or pidfile.find(args.port) is None:
        return None
    try:
        return next(admin_socket.ask(args.port, {"op": "status"}), None)
    except HubError:  # it has just started, or is ending
        return None


def _remote_status(args: argparse.Namespace) -> dict[str, Any]:
    url, body = fetch(args, "/status", ". If the admin surface of this server has a port of its own (admin_port), give that")
    status = json_object(url, body)
    if not isinstance(status.get("modules"), list):
        raise not_ours(url)
    return status


def _has_long_reason(module: dict[str, Any]) -> bool:
    """Return whether the reason why a module is not ready is too long for a column of the table."""
    return not module["ready"] and len(module["reason"]) > _LONGEST_STATE


def _status_row(module: dict[str, Any]) -> list[str]:
    instances = module["instances"]
    restarts = sum(each["restarts"] for each in instances)
    return [
        module["name"],
        module["version"],
        "ready" if module["ready"] else "not ready" if _has_long_reason(module) else module["reason"],
        (module["engine"] or {}).get("name", "-"),
        str(module["queue"]),
        str(module["requests"]),
        str(module["failures"]),
        f"{sum(each['pid'] is not None for each in instances)}/{len(instances)}" + (f", {restarts} restarted" if restarts else ""),
        _times_text(module["batch_times"]),
    ]


def _times_text(forms: list[dict[str, Any]]) -> str:
    """Return the duration of calls by their number of items, for the first form of item."""
    times = {**forms[0]["ms"], **forms[0]["shared_ms"]} if forms else {}
    return " ".join(f"{items}:{times[items]:.3g}" for items in sorted(times, key=int)) or "-"
