"""Checks of who may use a server."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hubserve.access.key_file import read_keys
from hubserve.doctor.findings import ERROR, NOTE, WARNING
from hubserve.errors import ConfigError
from hubserve.server.exposure import is_open_to_all, open_addresses, shows_keys
from hubserve.settings import ServerSettings

#: level, setting, reason and remedy of a finding
Found = tuple[str, str, str, str]


def access_problems(settings: ServerSettings) -> Iterator[Found]:
    """Yield what is wrong with the keys of a server's clients, or with having none."""
    where = " and ".join(open_addresses(settings))
    if is_open_to_all(settings):
        reason = f"on {where}, every client that can reach this machine can use the modules: it needs neither a key nor a certificate"
        yield (
            WARNING,
            "host",
            reason,
            "Set access_keys (hub access create) or tls_client_ca, or use 127.0.0.1 behind a proxy that authenticates",
        )
    if shows_keys(settings):
        reason = f"clients send their keys to {where} unencrypted"
        yield WARNING, "access_keys", reason, "Set tls_cert and tls_key, or encrypt by a proxy and name it in trusted_proxies"
    if settings.access_keys:
        yield from _problems_of_file(Path(settings.access_keys))


def _problems_of_file(path: Path) -> Iterator[Found]:
    try:
        keys = read_keys(path)
        mode = os.stat(path).st_mode
    except ConfigError as error:
        yield ERROR, "access_keys", error.message, "Create it with hub access create, or correct the path"
        return
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield WARNING, "access_keys", f"others than the owner can change '{path}', and let anybody in", f"chmod 600 '{path}'"
    if not keys:
        yield WARNING, "access_keys", f"'{path}' has no key, so that every request is refused", "Create one with hub access create"
    for each in keys:
        if each.has_expired:
            yield NOTE, "access_keys", f"the key {each.id} of {each.name} has expired", f"hub access revoke '{path}' {each.id}"
