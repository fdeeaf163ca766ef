"""``hub serving start | stop | status | reload | openapi``."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubserve.cli import serving_openapi, serving_status
from hubserve.cli.server_notices import swap_text
from hubserve.errors import HubError
from hubserve.server import admin_socket, pidfile
from hubserve.settings import DEFAULT_PORT, ServerSettings, read_config

if TYPE_CHECKING:
    from hubserve.gateway.dataplane import ModulePlan

HELP = "start, stop, reload or inspect a server"

_STOP_POLL_S = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="start|stop|status|reload|openapi")
    _add_start_arguments(actions.add_parser("start", help="serve modules until Ctrl-C or 'hub serving stop'"))
    stop = actions.add_parser("stop", help="stop a server after it has finished its requests")
    stop.add_argument("-p", "--port", type=int, default=DEFAULT_PORT, help="port of the server (default %(default)s)")
    stop.add_argument("--timeout_s", type=float, default=60, help="seconds to wait for it to end (default %(default)s)")
    status = actions.add_parser("status", help="show a server's modules, instances and queues")
    serving_status.add_arguments(status)
    reload = actions.add_parser("reload", help="load modules anew beside the running ones, then move the traffic to them")
    reload.add_argument("modules", nargs="*", metavar="NAME", help="modules (default: all; those no longer in the settings are stopped)")
    reload.add_argument("-p", "--port", type=int, default=DEFAULT_PORT, help="port of the server (default %(default)s)")
    reload.add_argument("--json", action="store_true", help="print JSON at the end")
    serving_openapi.add_arguments(actions.add_parser("openapi", help="write a server's OpenAPI document, for generators of clients"))


def _add_start_arguments(start: argparse.ArgumentParser) -> None:
    start.add_argument(
        "-m",
        "--modules",
        nargs="+",
        action="extend",
        metavar="NAME[==VERSION]|FOLDER|[NAME=]FILE|[NAME=]ADDRESS",
        help="installed modules, or folders and model files (.onnx, .pdmodel, .pt, .mge, a SavedModel, ...) to serve without installing, "
        "here or at s3://BUCKET/..., hf:ORGANISATION/NAME@COMMIT, modelscope:ORGANISATION/NAME, https://, ssh://, ...",
    )
    start.add_argument(
        "--model-store",
        "--model-repository",
        "--model_store",
        "--model_repository",
        dest="model_store",
        action="append",
        metavar="DIR|ADDRESS",
        help="Triton model repository to serve: DIR/MODEL/config.pbtxt and DIR/MODEL/VERSION/..., here or at s3://, gs://, "
        "as://, https://, ssh://, ... (repeatable)",
    )
    start.add_argument(
        "--model-control",
        "--model-control-mode",
        "--model_control",
        dest="model_control",
        choices=["none", "poll", "explicit"],
        help="none: serve all models of the stores; poll: also follow changes; explicit: serve --load-model and models that clients load",
    )
    start.add_argument(
        "--load-model",
        "--load_model",
        dest="load_model",
        action="append",
        metavar="NAME",
        help="with --model-control explicit: model to load at start-up ('*': all; repeatable)",
    )
    start.add_argument(
        "--build-environments",
        "--build_environments",
        dest="build_environments",
        action="store_true",
        default=None,
        help="build the environments of engines that models need and that do not exist yet (minutes, gigabytes)",
    )
    start.add_argument("-c", "--config", type=Path, metavar="FILE", help="a config.json; PaddleHub's other flags are then ignored")
    start.add_argument("-p", "--port", type=int, help=f"port to listen on (default {DEFAULT_PORT}; 0: any free one)")
    start.add_argument("--host", help="address to listen on (default 127.0.0.1: this machine only)")
    start.add_argument(
        "--grpc-port",
        "--grpc_port",
        type=int,
        metavar="PORT",
        help="gRPC port; may equal --port (0: any free one; default: no gRPC)",
    )
    for name, what in (
        ("cert", "PEM file of the certificate chain for HTTPS, and for gRPC on the same port"),
        ("key", "PEM file of that certificate's private key"),
        ("client-ca", "PEM file of the authorities that clients' certificates must come from (default: clients need none)"),
    ):
        start.add_argument(
            f"--tls-{name}", f"--tls_{name.replace('-', '_')}", dest=f"tls_{name.replace('-', '_')}", metavar="FILE", help=what
        )
    start.add_argument(
        "--metrics-port",
        "--metrics_port",
        type=int,
        metavar="PORT",
        help="port for Prometheus' /metrics and nothing else, such as 8002 (default: /metrics at --port)",
    )
    start.add_argument(
        "--shared-memory",
        "--shared_memory",
        dest="shared_memory",
        action="store_true",
        default=None,
        help="let clients on this machine pass tensors in POSIX shared memory",
    )
    start.add_argument(
        "--access-keys",
        "--access_keys",
        dest="access_keys",
        metavar="FILE",
        help="file of the API keys of clients, which 'hub access create' writes (default: clients need no key)",
    )
    start.add_argument(
        "--admin",
        choices=["local", "off", "any"],
        help="clients that may load and unload models, register shared memory, change logging and tracing, and read /status: "
        "those that connect directly from this machine (local, default), none (off), or all (any)",
    )
    start.add_argument(
        "--admin-port",
        "--admin_port",
        dest="admin_port",
        type=int,
        metavar="PORT",
        help="port on this machine that has this admin surface, which --port then lacks (default: --port has it)",
    )
    start.add_argument(
        "--admin-socket",
        "--admin_socket",
        dest="admin_socket",
        metavar="PATH",
        help="Unix socket that has this admin surface, for the server's user and root",
    )
    start.add_argument(
        "--allowed-hosts",
        "--allowed_hosts",
        dest="allowed_hosts",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="further host names that clients may use, such as that of a proxy in front",
    )
    start.add_argument(
        "--cors-origins",
        "--cors_origins",
        dest="cors_origins",
        nargs="+",
        action="extend",
        metavar="ORIGIN",
        help="origins of other web pages that may use the modules, such as https://app.example.com ('*': all)",
    )
    _add_log_arguments(start)
    start.add_argument("--use_multiprocess", action="store_true", help="run --workers instances of each module")
    start.add_argument("--use_singleprocess", action="store_true", help="run one instance of each module (PaddleHub 1.6)")
    start.add_argument(
        "-mi", "--modules_info", metavar="JSON", help="""modules with their settings, as in a config.json: '{"lac": {"init_args": {}}}'"""
    )
    start.add_argument("--timeout", metavar="S", help=argparse.SUPPRESS)
    start.add_argument("stray", nargs="*", metavar="", help=argparse.SUPPRESS)
    start.add_argument(
        "-w", "--workers", type=int, help="instances of each module (default: one per core or GPU for modules that compute batches)"
    )
    start.add_argument("--use_gpu", action="store_true", help="compute on GPUs")
    start.add_argument("-i", "--gpu", help="GPUs to use, such as '0,1' (default: CUDA_VISIBLE_DEVICES)")
    start.add_argument(
        "--gpu-fallback",
        "--gpu_fallback",
        dest="gpu_fallback",
        choices=("none", "cpu"),
        help="cpu: compute models that ask for a GPU on the CPU where no GPU is visible (default none: they are not served)",
    )


def _add_log_arguments(start: argparse.ArgumentParser) -> None:
    def add(name: str, **options: Any) -> None:
        start.add_argument(f"--{name}", f"--{name.replace('-', '_')}", dest=name.replace("-", "_"), **options)

    add("access-log", choices=["off", "text", "json"], help="write a line for each request (default off)")
    add("log-level", choices=["debug", "info", "warning", "error"], help="lowest level of the log (default info)")
    add("log-format", choices=["text", "json"], help="json: every line of the log is a JSON object (default text)")
    add("log-file", metavar="FILE", help="file of the log, which is rotated (default: standard error)")
    add("trace-endpoint", metavar="URL", help="OpenTelemetry collector that gets traces, such as http://localhost:4318 (default none)")
    add(
        "status-codes",
        choices=["paddlehub", "http"],
        help="HTTP status of failures at /predict: paddlehub, 200 for most, or http, 4xx and 5xx (default paddlehub)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the action; return the exit status."""
    actions = {"start": _start, "stop": _stop, "status": serving_status.run, "reload": _reload, "openapi": serving_openapi.run}
    return actions[args.action](args)


def _start(args: argparse.Namespace) -> int:
    from hubserve.cli.progress import shown_when_used
    from hubserve.cli.serving_flags import beside_config, disregarded, refuse_stray, settings_from_flags
    from hubserve.registry.progress import showing
    from hubserve.registry.resolve import may_mean
    from hubserve.server.deployment import make_plans
    from hubserve.server.run import serve

    refuse_stray(args.stray)
    if not (args.config or args.modules or args.modules_info or args.model_store):
        print(
            "hub: nothing says what to serve: give -m NAME, --model-store DIR or -c FILE. Run 'hub serving start -h' to see what it takes.",
            file=sys.stderr,
        )
        return 2
    notes: set[str] = set()

    def note(text: str) -> None:
        if text not in notes:  # the settings are read again for each reload
            notes.add(text)
            print(f"hub: {text}", file=sys.stderr, flush=True)

    if args.config and (line := disregarded(args)):
        note(line)

    def settings(only: str | None = None) -> ServerSettings:
        return read_config(args.config, beside_config(args), note) if args.config else settings_from_flags(args, only, note)

    search_path = [args.config.absolute().parent] if args.config else []

    def plans(only: str | None = None) -> "list[ModulePlan]":
        is_by_name = only is not None and not (args.config or args.model_store or args.modules_info)
        if is_by_name and not any(may_mean(each, str(only)) for each in args.modules):
            return []
        return make_plans(settings(only), search_path, only)

    def plans_shown(only: str | None = None) -> "list[ModulePlan]":
        if is_started:  # what a reload fetches is in the log
            return plans(only)
        is_started.append(True)
        with shown_when_used() as progress, showing(progress):
            return plans(only)

    is_started: list[bool] = []
    with shown_when_used() as progress, showing(progress):
        own_settings = settings()
    serve(own_settings, plans_shown, search_path)
    return 0


def _stop(args: argparse.Namespace) -> int:
    running = pidfile.find(args.port)
    if running is None:
        raise HubError(_why_no_server(args.port))
    if running.process.is_alive:
        os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + args.timeout_s
    while running.process.is_alive:
        if time.monotonic() > deadline:
            raise HubError(
                f"the server on port {args.port} (pid {running.pid}) has not finished its requests within {args.timeout_s:g} s; "
                f"wait longer with --timeout_s, or end it at once with 'kill -QUIT {running.pid}'"
            )
        time.sleep(_STOP_POLL_S)
    print(f"stopped the server on port {args.port} (pid {running.pid})")
    return 0


def _why_no_server(port: int) -> str:
    pid = pidfile.find_unproven(port)
    if pid is None:
        pidfile.remove_stale(port)
        return f"no hub server runs on port {port} for this user's home; 'hub serving status -p PORT' looks at another port"
    path = pidfile.path_for(port)
    return (
        f"no hub server holds the lock on '{path}', so that process {pid}, which it names, is not ended: it may be another program, or a "
        f"server of an older release, which takes no lock. Look at it with 'ps -fp {pid}'; if it is the server, end it with "
        f"'kill {pid}', otherwise remove the file with 'rm {path}'"
    )


def _reload(args: argparse.Namespace) -> int:
    notices = []
    for line in admin_socket.ask(args.port, {"op": "reload", "modules": args.modules}):
        notices.append(line)
        if not args.json:
            print(swap_text(line), flush=True)
    if args.json:
        print(json.dumps(notices, ensure_ascii=False, indent=2))
    return int(any(line["error"] for line in notices))
