"""Checks of the addresses of a configuration: where its server listens, and where instances are."""

import socket
from collections.abc import Iterator

from hubserve.doctor import home_checks
from hubserve.doctor.access import access_problems
from hubserve.doctor.config.subject import Config
from hubserve.doctor.findings import ERROR, NOTE, WARNING, Finding, from_error
from hubserve.errors import ConfigError
from hubserve.gateway.instances.remote_instance import connect, identity, start_advice
from hubserve.instance.remote_listener import parse_address
from hubserve.registry.downloads.canonical import is_loopback
from hubserve.server import pidfile
from hubserve.settings import ModuleSettings
from hubserve.wire.tls import ASK_PROBE

_CONNECT_S = 3.0
_FIRST_FREE_PORT = 1024


def check_address(config: Config) -> Iterator[Finding]:
    """Check that the server can listen on host and port."""
    host, port = config.settings.host, config.settings.port
    running = pidfile.find(port) if port else None
    if running:
        reason = f"hub already serves {', '.join(running.modules)} on port {port} (pid {running.pid})"
        yield config.finding(NOTE, "port", reason, f"hub serving reload -p {port}, or hub serving stop -p {port}")
    elif problem := _listening_problem(host, port):
        about = "host" if "assign" in problem or "known" in problem else "port"
        root = " (ports below 1024 require root)" if 0 < port < _FIRST_FREE_PORT else ""
        yield config.finding(
            ERROR, about, f"the server cannot listen on {host}:{port}: {problem}{root}", "Set another port, or an address of this machine"
        )
    for found in access_problems(config.settings):
        yield config.finding(*found)
    settings = config.settings
    admin_host = settings.admin_host if settings.has_own_admin else host
    is_open = settings.admin_port is not None or not settings.has_own_admin  # to other programs than this user's
    if settings.admin == "any" and is_open and not is_loopback(admin_host):
        reason = f"on {admin_host}, every client that can reach this machine can load and unload models, and change logging and tracing"
        yield config.finding(WARNING, "admin", reason, 'Set it to "local"')


def _listening_problem(host: str, port: int) -> str:
    try:
        return home_checks.port_problem(host, port)
    except (socket.gaierror, OverflowError) as error:
        return str(error)


def check_addresses(config: Config) -> Iterator[Finding]:
    """Check that listeners answer at the addresses."""
    for name, module in config.modules.items():
        for index, address in enumerate(module.addresses):
            about = f"modules_info.{name}.addresses.{index}"
            try:
                host, _ = where = parse_address(address)
            except ConfigError as error:
                yield from_error(error, about, "Write host:port", str(config.path))
                continue
            if not config.network and not is_loopback(host):
                yield config.finding(NOTE, about, f"{address} was not checked", "hub doctor --network CONFIG connects to it")
            elif problem := _connection_problem(where, module):
                fix = start_advice(address, module.certificates)
                yield config.finding(ERROR, about, f"no instance answers at {address}: {problem}", fix)


def _connection_problem(where: tuple[str, int], module: ModuleSettings) -> str:
    try:
        connect(where, identity(module.token_file, module.certificates), ASK_PROBE, _CONNECT_S).close()
    except ConfigError:  # the check of the key reports it; whether something listens can be checked without it
        return _refusal(where)
    except OSError as error:
        return str(error) or "no answer"
    return ""


def _refusal(where: tuple[str, int]) -> str:
    try:
        socket.create_connection(where, timeout=_CONNECT_S).close()
    except OSError as error:
        return str(error) or "no answer"
    return ""
