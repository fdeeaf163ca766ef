"""Checks of settings that concern more than one of them, or that their types cannot express."""

import ipaddress
import re
from urllib.parse import urlsplit

from hubserve.errors import ConfigError
from hubserve.settings.module import REMOTE_FILES, ModuleSettings
from hubserve.settings.server import ServerSettings

#: in ``trusted_proxies``: clients of a Unix socket, which have no address
UNIX_SOCKET = "unix"

_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")
_HOST = re.compile(r"\*|(\*\.)?[A-Za-z0-9_.-]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
_ORIGIN = re.compile(r"\*|null|[A-Za-z][A-Za-z0-9+.-]*://[^/\s?#@*]+")


def check_settings(settings: ServerSettings, origin: str) -> None:
    """Check settings together.

    Args:
        settings: with a value of the right type for each.
        origin: name of their source in messages.
    Raises:
        ConfigError: some contradict one another, or a value cannot be used.
    """
    for name, module in settings.modules_info.items():
        if module.default_priority_level is not None and module.default_priority_level > module.priority_levels:
            raise ConfigError(
                f"{origin}: modules_info.{name}.default_priority_level is {module.default_priority_level}, "
                f"but priority_levels is {module.priority_levels}; give one of 1 to {module.priority_levels or 'priority_levels'}"
            )
        for address in module.allowed_addresses:
            if not _is_address_rule(address):
                raise ConfigError(
                    f"{origin}: modules_info.{name}.allowed_addresses has '{address}'; give names of hosts or IP addresses without scheme, "
                    "port and path, such as 'pictures.example.com', '*.example.com' or '10.1.0.0/16', or '*'"
                )
        _check_remote(module, f"{origin}: modules_info.{name}")
    _check_tls(settings, origin)
    _check_names(settings, origin)
    _check_proxies(settings, origin)
    _check_admin(settings, origin)
    _check_traces(settings, origin)
    if settings.load_model and settings.model_control != "explicit":
        raise ConfigError(f"{origin}: load_model has a meaning only with model_control 'explicit', and that is '{settings.model_control}'")
    if settings.model_control != "none" and not settings.model_store:
        raise ConfigError(f"{origin}: model_control is '{settings.model_control}', and there is no model_store; name one")
    if not settings.modules_info and not settings.model_store:
        raise ConfigError(f"{origin}: 'modules_info' names no module; give at least one, as in {{\"clas_system\": {{}}}}")


def _check_admin(settings: ServerSettings, origin: str) -> None:
    if settings.has_own_admin and settings.admin == "off":
        key = "admin_socket" if settings.admin_socket else "admin_port"
        raise ConfigError(f"{origin}: '{key}' is set, and admin is 'off', which closes the admin surface there, too; leave one of them out")
    for key in ("port", "grpc_port", "metrics_port"):
        if settings.admin_port and settings.admin_port == getattr(settings, key):
            raise ConfigError(
                f"{origin}: 'admin_port' and '{key}' are both {settings.admin_port}; give the admin surface a port of its own"
            )


def _check_remote(module: ModuleSettings, about: str) -> None:
    files = [getattr(module, each) for each in REMOTE_FILES]
    if any(files) and not all(files):
        missing = [each for each in REMOTE_FILES if not getattr(module, each)]
        raise ConfigError(f"{about} has no {' and no '.join(missing)}; certificates for listeners need {', '.join(REMOTE_FILES)}")
    if any(files) and module.token_file:
        raise ConfigError(f"{about} has both token_file and remote_cert; listeners know one of them, so leave the other out")
    if module.addresses and not (module.token_file or any(files)):
        raise ConfigError(
            f"{about} has addresses but no token_file; name the file that the listeners were started with, or {', '.join(REMOTE_FILES)}"
        )


def _check_proxies(settings: ServerSettings, origin: str) -> None:
    for proxy in settings.trusted_proxies:
        if proxy != UNIX_SOCKET and not _is_network(proxy):
            raise ConfigError(
                f"{origin}: trusted_proxies has '{proxy}'; give IP addresses or networks, such as '127.0.0.1' or '10.0.0.0/8', or "
                f"'{UNIX_SOCKET}' for clients of a Unix socket"
            )
    if not _ROOT_PATH.fullmatch(settings.root_path):
        raise ConfigError(f"{origin}: root_path is '{settings.root_path}'; give a path of letters, digits and ._~-, such as '/models'")


def _is_address_rule(text: str) -> bool:
    """Return True for the name of a host, with ``*.`` for all of a domain, and for an IP address or network."""
    return bool(_HOST.fullmatch(text)) or _is_network(text)


def _is_network(text: str) -> bool:
    """Return True for an IP address or network."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _check_tls(settings: ServerSettings, origin: str) -> None:
    for what, prefix in (("HTTP", ""), ("gRPC", "grpc_")):
        cert, key, client_ca = (f"{prefix}tls_{each}" for each in ("cert", "key", "client_ca"))
        if bool(getattr(settings, cert)) != bool(getattr(settings, key)):
            given, missing = (cert, key) if getattr(settings, cert) else (key, cert)
            raise ConfigError(f"{origin}: '{given}' is set but '{missing}' is not; encrypted {what} needs both files, plain {what} neither")
        if getattr(settings, client_ca) and not getattr(settings, cert):
            raise ConfigError(f"{origin}: '{client_ca}' is set but '{cert}' is not; only encrypted connections have clients' certificates")
    if settings.grpc_tls_cert and settings.has_one_port:
        raise ConfigError(
            f"{origin}: 'grpc_port' and 'port' are both {settings.port}, where 'tls_cert' counts for both, but 'grpc_tls_cert' is set; "
            "give gRPC a port of its own, or set 'tls_cert' instead"
        )


def _check_traces(settings: ServerSettings, origin: str) -> None:
    if settings.trace_endpoint:
        try:
            parts = urlsplit(settings.trace_endpoint)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ConfigError(f"{origin}: trace_endpoint must be the address of a collector, such as 'http://localhost:4318'")
        if parts.username is not None:
            raise ConfigError(f"{origin}: trace_endpoint has a password in it, which logs would show; send it by trace_headers")
    for name, value in settings.trace_headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ConfigError(
                f"{origin}: trace_headers has a header that cannot be sent: {name[:40]!r}. Names have letters, digits and hyphens, values "
                "printable ASCII characters"
            )


def _check_names(settings: ServerSettings, origin: str) -> None:
    for host in settings.allowed_hosts:
        if not _HOST.fullmatch(host):
            raise ConfigError(f"{origin}: allowed_hosts has '{host}'; give names without scheme, port and path, such as 'ml.example.com'")
    for page in settings.cors_origins:
        if not _ORIGIN.fullmatch(page):
            raise ConfigError(
                f"{origin}: cors_origins has '{page}'; give a scheme, a host and, unless it is the usual one, a port, "
                "such as 'https://app.example.com' or 'http://localhost:3000', or '*'"
            )
