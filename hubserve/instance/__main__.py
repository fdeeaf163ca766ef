"""``python -m hubserve.instance``: load one module in this process, then serve, run or only check it."""

import argparse
import faulthandler
import json
import os
import socket
import sys
from pathlib import Path
from typing import List, Optional

from hubserve.errors import HubError, to_wire
from hubserve.instance import parent_death
from hubserve.instance.app_server import serve_app
from hubserve.instance.json_results import ResultEncoder
from hubserve.instance.malloc_tuning import keep_large_buffers
from hubserve.instance.output import mark_output
from hubserve.instance.remote_listener import listen, log_line
from hubserve.instance.serve_loop import serve
from hubserve.kinds import get_kind
from hubserve.kinds.base import Kind
from hubserve.kinds.forks import ignore_signals
from hubserve.kinds.import_hooks import hide_neighbours, share_with_children
from hubserve.kinds.module_failures import as_failure
from hubserve.kinds.project_imports import record_origin
from hubserve.kinds.torchvision_operators import declare_missing
from hubserve.module import BEHIND_VARIABLE
from hubserve.wire.arena import Arena
from hubserve.wire.certificates import TlsFiles
from hubserve.wire.peer_certificates import PeerCertificates
from hubserve.wire.tls import Identity, SharedKey

_COMPAT = Path(__file__).resolve().parent.parent / "compat"


def main(argv: Optional[List[str]] = None) -> int:
    """Run the mode that the arguments select, and return the exit status."""
    parser = argparse.ArgumentParser(prog="hubserve.instance")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--serve-fd", type=int, metavar="FD", help="serve the gateway at the other end of this socket")
    mode.add_argument("--app-fd", type=int, metavar="FD", help="run the module's web page for the gateway at the other end of this socket")
    mode.add_argument("--listen", metavar="HOST:PORT", help="run instances for gateways on other machines")
    mode.add_argument("--check", type=Path, metavar="FOLDER", help="import the module without constructing it")
    mode.add_argument("--run", type=Path, metavar="FOLDER", help="call the module's @runnable method")
    parser.add_argument("--json", action="store_true", help="with --run: print JSON instead of Python's notation")
    parser.add_argument("--arena-fd", type=int, metavar="FD", help="with --serve-fd: the memory shared with the gateway")
    parser.add_argument("--side-fd", type=int, metavar="FD", help="with --serve-fd: the side channel, for modules that take raw requests")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="with --listen: the key that gateways must have, made by hub key remote"
    )
    parser.add_argument(
        "--tls-cert", metavar="FILE", help="with --listen, instead of --token-file: PEM file of the certificate chain of this machine"
    )
    parser.add_argument("--tls-key", metavar="FILE", help="PEM file of its private key")
    parser.add_argument("--tls-client-ca", metavar="FILE", help="PEM file of the authorities that gateways' certificates must come from")
    parser.add_argument(
        "--tls-client-name",
        action="append",
        default=[],
        metavar="NAME",
        help="name that a gateway's certificate must have (repeatable; default: any of these authorities)",
    )
    parser.add_argument(
        "--mark-output", action="store_true", help="with --serve-fd or --app-fd: mark what the module writes, for the gateway"
    )
    parser.add_argument("--origin", type=Path, metavar="FOLDER", help="with --check: the folder that the module is installed from")
    parser.add_argument("--import-name", default="module_under_test")
    parser.add_argument("--kind", default="paddlehub")
    parser.add_argument("arguments", nargs="*")
    args = parser.parse_args(argv)
    if args.listen:
        return _listen(parser, args)
    faulthandler.enable()
    hide_neighbours()
    # last, so that a real paddlehub in this environment is preferred
    sys.path.extend([*filter(None, os.environ.get(BEHIND_VARIABLE, "").split(os.pathsep)), str(_COMPAT)])
    declare_missing()
    parent_death.die_with_parent()
    if args.serve_fd is not None:
        return _serve(args.serve_fd, args.arena_fd, args.side_fd, args.mark_output)
    if args.app_fd is not None:
        return _serve_app(args.app_fd, args.mark_output)
    try:
        if args.check:
            if args.origin:
                record_origin(args.import_name, args.origin)
            _prepare(args.kind, args.check).import_only(args.check.absolute(), args.import_name)
        else:
            _run(args)
    except HubError as error:
        if error.detail:
            print(error.detail, file=sys.stderr)  # noqa: T201 - the module's traceback, for its author
        print(json.dumps(to_wire(error)) if args.check else f"hub: {error.message}", file=sys.stdout if args.check else sys.stderr)
        return 1
    return 0


def _prepare(name: str, folder: Path) -> Kind:
    """Return a kind, with the process set up to import module code: ``sys.argv`` is that of a script without arguments."""
    kind = get_kind(name)
    sys.argv = [str(kind.code_file(folder.absolute(), {}))]
    share_with_children(always=True)
    return kind


def _run(args: argparse.Namespace) -> None:
    module = _prepare(args.kind, args.run).load(args.run.absolute(), args.import_name, {}, {})
    try:
        answer = module.run(args.arguments)
    except (HubError, SystemExit):  # a module's own argument parser exits with its own status
        raise
    except BaseException as error:
        raise as_failure(error) from error
    as_json = args.json or args.kind != "paddlehub"  # PaddleHub's own command prints Python's notation
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a module's text may not be encodable
    print(ResultEncoder().encode(answer).decode("utf-8", "replace") if as_json else answer)  # noqa: T201 - the command's result


def _listen(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    files = TlsFiles(args.tls_cert or "", args.tls_key or "", args.tls_client_ca or "")
    if bool(args.token_file) == any(files) or (any(files) and not all(files)):
        parser.error(
            "--listen needs --token-file, or --tls-cert, --tls-key and --tls-client-ca, because clients that connect can run code on this "
            "machine"
        )
    command = [sys.executable, "-m", "hubserve.instance", "--mark-output", "--serve-fd"]
    try:
        return listen(args.listen, _identity(args, files), lambda fd: [*command, str(fd)])
    except HubError as error:
        sys.stderr.write(f"hub: {error.message}\n")
        return 1
    except KeyboardInterrupt:
        return 0


def _identity(args: argparse.Namespace, files: TlsFiles) -> Identity:
    if args.token_file:
        return SharedKey(args.token_file)
    if not args.tls_client_name:
        log_line(
            f"every holder of a certificate of the authorities in '{files.authorities}' may run code on this machine; "
            "name the gateways with --tls-client-name"
        )
    return PeerCertificates(files, server_side=True, names=args.tls_client_name, log=log_line)


def _serve(fd: int, arena_fd: Optional[int], side_fd: Optional[int], marks_output: bool) -> int:
    ignore_signals()
    keep_large_buffers()
    _join_output(marks_output)
    arena = None
    if arena_fd is not None:
        arena = Arena(arena_fd)
        os.close(arena_fd)  # the mapping stays
    side = _socket(side_fd) if side_fd is not None else None
    with _socket(fd) as sock:
        return serve(sock, arena, side)


def _join_output(is_marked: bool) -> None:
    """Make what the module prints output for the log, wherever the gateway's own standard output goes."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if is_marked:
        mark_output()


def _serve_app(fd: int, marks_output: bool) -> int:
    ignore_signals()
    _join_output(marks_output)
    with _socket(fd) as sock:
        with sock.makefile("rb") as lines:
            order = json.loads(lines.readline())
        status = serve_app(sock, _prepare(order["kind"], Path(order["folder"])), order)
        sys.stderr.flush()
        os._exit(status)  # the page's threads would keep the process alive


def _socket(fd: int) -> socket.socket:
    """Return a socket for an inherited descriptor, which programs started by the module do not inherit."""
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)


if __name__ == "__main__":
    sys.exit(main())
