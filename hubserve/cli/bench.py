"""``hub bench``: measure a served module as its clients use it."""

import argparse
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubserve.cli.failures import INTERRUPTED
from hubserve.cli.output import add_api_key_option, add_json_option, print_json
from hubserve.cli.tls_options import add_tls_options, tls_of
from hubserve.errors import ConfigError, HubError

if TYPE_CHECKING:
    from hubserve.bench.sweep import Measured, Raw, Settings
    from hubserve.bench.target import Target

HELP = "measure a served module: throughput, latency, processor time and memory"

_DEFAULT_CONNECTIONS = (1, 2, 4, 8)
_MAX_BATCH = 1024
_MAX_RATE = 100_000
_WARM_UP_S = 1.0
_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from hubserve.bench.loops import MAX_CONNECTIONS
    from hubserve.bench.payloads import KINDS

    parser.add_argument("module", metavar="NAME[==VERSION]|FOLDER", help="a served or installed module, or any module's folder")
    parser.add_argument(
        "-p", "--port", type=int, help="port of a running server (default: the one that serves NAME; else a server is started)"
    )
    parser.add_argument("--host", default=_LOCAL_HOSTS[0], help="address of the running server (default %(default)s)")
    parser.add_argument("-w", "--workers", type=_integer(1, 256), help="instances, if a server is started (default 1)")
    loop = parser.add_mutually_exclusive_group()
    loop.add_argument(
        "--connections",
        type=_listed(_integer(1, MAX_CONNECTIONS)),
        metavar="N,N",
        help="closed loop: connections that each wait for their response (default 1,2,4,8)",
    )
    loop.add_argument(
        "--rate",
        type=_listed(_number(_MAX_RATE)),
        metavar="R,R",
        help="open loop: requests per second at random times, without waiting; latency counts from those times",
    )
    parser.add_argument("--batch_sizes", type=_listed(_integer(1, _MAX_BATCH)), metavar="N,N", help="items per request (default 1)")
    parser.add_argument("--seconds", type=_number(3600), default=5.0, help="length of a round (default %(default)g)")
    parser.add_argument("--rounds", type=_integer(1, 1000), default=3, help="rounds of each; medians are shown (default %(default)s)")
    parser.add_argument("--request_timeout_s", type=_number(3600), default=30.0, help="timeout of a request (default %(default)g)")
    parser.add_argument(
        "--payload", choices=[*KINDS], default="", help="form of the requests (default: the first of these that the module accepts)"
    )
    parser.add_argument("--data", default="", metavar="JSON|@FILE", help="for json: the object to send")
    parser.add_argument("--image_file", type=Path, metavar="FILE", help="for image: the picture to send (default: a JPEG of 451 x 300)")
    parser.add_argument(
        "--shape", type=_listed(_integer(1, 1 << 30)), default=(), metavar="N,N", help="for base64 and raw: shape of one item"
    )
    parser.add_argument("--no-raw", action="store_true", help="do not measure the engine alone for comparison")
    add_api_key_option(parser)
    add_json_option(parser)
    add_tls_options(parser)


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.strip().isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {high}, got '{text[:40]}'")
        return int(text)

    return parse


def _number(high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value <= high:
            raise argparse.ArgumentTypeError(f"must be a number over 0 and up to {high:g}, got '{text[:40]}'")
        return value

    return parse


def _listed(parse: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    return lambda text: tuple(dict.fromkeys(parse(each) for each in text.split(",")))


def run(args: argparse.Namespace) -> int:
    """Measure, print the report, and return the exit status."""
    from hubserve.access.keys import key_to_send
    from hubserve.bench import payloads, report
    from hubserve.bench.load import Pattern, Timing
    from hubserve.bench.sweep import Measured, Settings

    patterns = [Pattern(rate_per_s=rate) for rate in args.rate or ()] or [
        Pattern(connections=each) for each in args.connections or _DEFAULT_CONNECTIONS
    ]
    timing = Timing(min(_WARM_UP_S, args.seconds), args.seconds, args.request_timeout_s)
    settings = Settings(patterns, args.rounds, timing)
    args.api_key = key_to_send(args.api_key)
    options = payloads.Options(args.payload, args.data, args.image_file, args.shape, args.api_key)
    measured = Measured()
    with _target(args) as target:
        kind = payloads.choose_kind(target.module, options)
        if kind == "json" and args.batch_sizes:
            raise ConfigError("--batch_sizes is for arrays and pictures; a json payload is sent as it is. Leave it out.")
        host = f"{target.server.host}:{target.server.port}"
        requests = [payloads.build(target.module, kind, size, options, host) for size in args.batch_sizes or (1,)]
        _measure(args, target, requests, settings, measured)
        document = report.make_document(target, requests, settings, measured)
    _print(document, args)
    return INTERRUPTED if measured.interrupted else 0


def _measure(args: argparse.Namespace, target: "Target", requests: Sequence[Any], settings: "Settings", measured: "Measured") -> None:
    from hubserve.bench.sweep import check, sweep
    from hubserve.cli.progress import shown_steps

    check(target, requests, args.request_timeout_s)
    with _raw(args, target, requests[0].kind, settings, measured) as raw, shown_steps() as progress:
        try:
            sweep(target, requests, settings, raw, measured, progress)
        except KeyboardInterrupt:
            if not measured.rounds:
                raise
            measured.interrupted = True
            measured.notes.append("interrupted: this is what was measured until then")


@contextmanager
def _target(args: argparse.Namespace) -> Iterator["Target"]:
    """Yield the chosen server, or start one."""
    from hubserve.bench.loops import ServerAddress
    from hubserve.bench.target import find_target, started_server
    from hubserve.cli.progress import shown_progress
    from hubserve.server import pidfile

    with ExitStack() as stack:
        tls = tls_of(args)
        name, version = _name(args.module, remote=args.port is not None)
        port = args.port if args.port is not None else _running_port(args, name)
        if port is None:
            if tls:
                raise ConfigError("--https, --cacert, --cert, --key and --insecure are for a server that runs; give its port with -p")
            with shown_progress() as progress:
                progress(f"starting a server of {name}")
                server, pid = stack.enter_context(started_server(args.module, args.workers, _port_of))
        else:
            if args.workers:
                raise ConfigError(
                    f"-w is for a server that is started, and one runs on port {port} already; leave -w out, or stop that one"
                )
            running = pidfile.find(port) if args.host in _LOCAL_HOSTS else None
            server, pid = ServerAddress(args.host, port, tls.context() if tls else None), running.pid if running else 0
        yield find_target(server, name, version, pid, args.api_key)


def _name(reference: str, *, remote: bool) -> tuple[str, str | None]:
    """Return the module's name and the requested version; a module that another process serves need not be installed here."""
    from hubserve.registry.names import is_name, split_reference
    from hubserve.registry.resolve import resolve

    if os.sep not in reference:
        name, version = split_reference(reference)
        if is_name(name) and (remote or _ports_that_serve(name)):
            return name, version
    return resolve(reference).info.name, None


def _ports_that_serve(name: str) -> list[int]:
    from hubserve.server import pidfile

    return [port for port, server in pidfile.running_servers().items() if name in server.modules]


def _running_port(args: argparse.Namespace, name: str) -> int | None:
    """Return the port of a server that already serves the module; a folder is always served anew."""
    if args.host not in _LOCAL_HOSTS:
        raise ConfigError(f"the port on {args.host} is not known; give it with -p")
    ports = [] if os.sep in args.module else _ports_that_serve(name)
    if len(ports) > 1:
        raise ConfigError(f"module '{name}' is served on the ports {', '.join(map(str, ports))}; say which with -p")
    return ports[0] if ports else None


def _port_of(pid: int) -> int:
    from hubserve.server import pidfile

    return next((port for port, server in pidfile.running_servers().items() if server.pid == pid), 0)


@contextmanager
def _raw(args: argparse.Namespace, target: "Target", kind: str, settings: "Settings", measured: "Measured") -> Iterator["Raw | None"]:
    """Yield the loaded engine alone; None, with the reason in ``measured``, if it cannot be loaded."""
    from hubserve.bench.raw_engine import RawEngine, reason_to_leave_out
    from hubserve.cli.progress import shown_progress

    if args.no_raw:
        yield None
        return
    measured.raw_left_out = reason_to_leave_out(target, kind)
    engine = None
    try:
        if not measured.raw_left_out:
            with shown_progress() as progress:
                progress("loading the engine alone")
                engine = RawEngine(target, _load_order(target))
    except HubError as error:
        measured.raw_left_out = error.message
    if engine is None:
        yield None
        return
    try:
        yield lambda batch_size: engine.measure(batch_size, args.shape, settings.timing)
    finally:
        engine.close()


def _load_order(target: "Target") -> dict[str, Any]:
    """Return the load order of the server's instances.

    Raises:
        HubError: the server no longer serves the module.
    """
    from hubserve.server import admin_socket

    for notice in admin_socket.ask(target.server.port, {"op": "load order", "module": target.module["name"]}):
        return dict(notice["order"])
    raise HubError(f"the server no longer serves '{target.module['name']}'")


def _print(document: dict[str, Any], args: argparse.Namespace) -> None:
    from hubserve.bench import report
    from hubserve.cli.tables import print_table, printable

    if args.json:
        print_json(document)
        return
    print(printable(report.heading(document)))
    print_table(*report.table(document), numbers=True)
    for line in report.footnotes(document):
        print(printable(line))
