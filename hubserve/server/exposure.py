"""Warn of a server that everyone who reaches its address may use."""

import logging

from hubserve.net.hosts import is_loopback
from hubserve.settings import ServerSettings

log = logging.getLogger("hubserve")


def warn_if_open(settings: ServerSettings) -> None:
    """Log what an operator should know of who may use a server."""
    if is_open_to_all(settings):
        log.warning(
            "ANYONE who can reach %s may use this server: it listens on other addresses than this machine's own, and clients need "
            "neither a key nor a certificate. Create keys with 'hub access create keys.json --name NAME --modules MODULE' and set "
            "'access_keys', or set 'tls_client_ca', or listen on 127.0.0.1 behind a proxy that checks its clients",
            " and ".join(open_addresses(settings)),
        )
    if shows_keys(settings):
        log.warning(
            "clients send their keys to %s unencrypted, so that others in the network can read them; set 'tls_cert' and 'tls_key', or "
            "encrypt by a proxy and name it in 'trusted_proxies'",
            " and ".join(open_addresses(settings)),
        )


def open_addresses(settings: ServerSettings) -> list[str]:
    """Return the addresses of a server that clients on other machines can reach."""
    own = [settings.admin_host] if settings.admin_port is not None and settings.admin == "any" else []
    return [each for each in dict.fromkeys([settings.host, *own]) if not is_loopback(each)]


def is_open_to_all(settings: ServerSettings) -> bool:
    """Return True if clients on other machines need neither a key nor a certificate."""
    if not open_addresses(settings) or settings.access_keys:
        return False
    return not settings.tls_client_ca or (_has_own_grpc(settings) and not settings.grpc_tls_client_ca)


def shows_keys(settings: ServerSettings) -> bool:
    """Return True if clients on other machines send keys that others in the network can read."""
    if not open_addresses(settings) or not settings.access_keys or settings.trusted_proxies:
        return False
    return not settings.tls_cert or (_has_own_grpc(settings) and not settings.grpc_tls_cert)


def _has_own_grpc(settings: ServerSettings) -> bool:
    return settings.grpc_port is not None and not settings.has_one_port
