"""``hub serving status``."""

import argparse
import json
import urllib.error
import urllib.request
from typing import Any

from hubserve.access.keys import key_to_send
from hubserve.cli.output import add_api_key_option
from hubserve.cli.tls_options import add_tls_options, tls_of
from hubserve.errors import HubError
from hubserve.server import admin_socket, pidfile
from hubserve.settings import DEFAULT_PORT
from hubserve.wire.client_tls import PLAIN_REFUSED

_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_SHOWN_BYTES = 1000
_NOT_FOUND = 404
#: characters of a reason that is shown within the table
_LONGEST_STATE = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-p", "--port", type=int, default=DEFAULT_PORT, help="port of the server (default %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address of the server (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_api_key_option(parser)
    add_tls_options(parser)


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
    if args.host not in _LOCAL_HOSTS or pidfile.find(args.port) is None:
        return None
    try:
        return next(admin_socket.ask(args.port, {"op": "status"}), None)
    except HubError:  # it has just started, or is ending
        return None


def _remote_status(args: argparse.Namespace) -> dict[str, Any]:
    tls = tls_of(args)
    url = f"{'https' if tls else 'http'}://{f'[{args.host}]' if ':' in args.host else args.host}:{args.port}/status"
    key = key_to_send(args.api_key)
    request = urllib.request.Request(url)  # noqa: S310 - always http or https
    if key:
        request.add_unredirected_header("X-API-Key", key)
    # never by way of a proxy that the environment names
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=tls.context())] if tls else [])
    )
    try:
        with opener.open(request, timeout=10) as answer:
            status = json.load(answer)
    except urllib.error.HTTPError as error:
        said = error.read(_SHOWN_BYTES).decode("utf-8", "replace")
        if PLAIN_REFUSED in said:
            raise HubError(f"the server at {url} is encrypted; give --cacert with its authority's certificate, or --https") from None
        advice = ". If the admin surface of this server has a port of its own (admin_port), give that" if error.code == _NOT_FOUND else ""
        raise HubError(f"{url} answers HTTP {error.code}: {said}{advice}") from None
    except (urllib.error.URLError, ValueError, OSError) as error:
        reason = getattr(error, "reason", error)
        running = pidfile.find(args.port) if args.host in _LOCAL_HOSTS else None
        advice = (
            f"process {running.pid} is a server of this port, and starting or ending; its log says more"
            if running
            else f"start one with 'hub serving start -m NAME -p {args.port}'"
        )
        raise HubError(f"no hub server answers at {url}: {reason}; {advice}") from None
    if not isinstance(status, dict) or not isinstance(status.get("modules"), list):
        raise HubError(f"the server at {url} is not a hub server; give the port of one with -p")
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
