"""Requests of ``hub serving`` to a server on this machine or another one."""

import argparse
import json
import urllib.error
import urllib.request
from typing import Any

from hubserve.access.keys import key_to_send
from hubserve.cli.output import add_api_key_option
from hubserve.cli.tls_options import add_tls_options, tls_of
from hubserve.errors import HubError
from hubserve.server import pidfile
from hubserve.settings import DEFAULT_PORT
from hubserve.wire.client_tls import PLAIN_REFUSED

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_SHOWN_BYTES = 1000
_NOT_FOUND = 404


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say which server, and how to connect to it."""
    parser.add_argument("-p", "--port", type=int, default=DEFAULT_PORT, help="port of the server (default %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address of the server (default %(default)s)")
    add_api_key_option(parser)
    add_tls_options(parser)


def fetch(args: argparse.Namespace, path: str, if_not_found: str) -> tuple[str, bytes]:
    """Get a path of the server that :func:`add_server_options` describes.

    Args:
        args: with these options.
        path: begins with "/".
        if_not_found: ends the error of a server that does not have it.

    Returns:
        The URL, and the body of the answer.

    Raises:
        HubError: the server does not answer, or refuses.
    """
    tls = tls_of(args)
    url = f"{'https' if tls else 'http'}://{f'[{args.host}]' if ':' in args.host else args.host}:{args.port}{path}"
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
            return url, answer.read()
    except urllib.error.HTTPError as error:
        said = error.read(_SHOWN_BYTES).decode("utf-8", "replace")
        if PLAIN_REFUSED in said:
            raise HubError(f"the server at {url} is encrypted; give --cacert with its authority's certificate, or --https") from None
        raise HubError(f"{url} answers HTTP {error.code}: {said}{if_not_found if error.code == _NOT_FOUND else ''}") from None
    except (urllib.error.URLError, ValueError, OSError) as error:
        raise _no_server(args, url, getattr(error, "reason", error)) from None


def _no_server(args: argparse.Namespace, url: str, reason: object) -> HubError:
    running = pidfile.find(args.port) if args.host in LOCAL_HOSTS else None
    advice = (
        f"process {running.pid} is a server of this port, and starting or ending; its log says more"
        if running
        else f"start one with 'hub serving start -m NAME -p {args.port}'"
    )
    return HubError(f"no hub server answers at {url}: {reason}; {advice}")


def json_object(url: str, body: bytes) -> dict[str, Any]:
    """Return the JSON object that a hub server answers with.

    Raises:
        HubError: the answer is something else.
    """
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise not_ours(url)
    return found


def not_ours(url: str) -> HubError:
    """Return the error for a server of another program."""
    return HubError(f"the server at {url} is not a hub server; give the port of one with -p")
