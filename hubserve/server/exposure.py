"""Warn of a server that everyone who reaches its address may use."""

import logging

from hubserve.net.hosts import is_loopback
from hubserve.settings import ServerSettings

log = logging.getLogger("hubserve")


def warn_if_open(settings: ServerSettings) -> None:
    """Log what an operator should know of who may use a server."""
    if is_loopback(settings.host):
        return
    own_grpc = settings.grpc_port is not None and not settings.has_one_port
    if not settings.access_keys and not _checks_certificates(settings, own_grpc):
        log.warning(
            "ANYONE who can reach %s may use this server: it listens on other addresses than this machine's own, and clients need "
            "neither a key nor a certificate. Create keys with 'hub access create keys.json --name NAME --modules MODULE' and set "
            "'access_keys', or set 'tls_client_ca', or listen on 127.0.0.1 behind a proxy that checks its clients",
            settings.host,
        )
    if settings.access_keys and not settings.trusted_proxies and not _encrypts(settings, own_grpc):
        log.warning(
            "clients send their keys to %s unencrypted, so that others in the network can read them; set 'tls_cert' and 'tls_key', or "
            "encrypt by a proxy and name it in 'trusted_proxies'",
            settings.host,
        )


def _checks_certificates(settings: ServerSettings, own_grpc: bool) -> bool:
    return bool(settings.tls_client_ca) and (not own_grpc or bool(settings.grpc_tls_client_ca))


def _encrypts(settings: ServerSettings, own_grpc: bool) -> bool:
    return bool(settings.tls_cert) and (not own_grpc or bool(settings.grpc_tls_cert))
