"""Settings of who may use a server, and how connections are protected."""

from typing import Annotated, Literal

import msgspec

from hubserve.settings.observability import ObservabilitySettings, Port

#: settings that name a file of a certificate or a key
TLS_FILES = ("tls_cert", "tls_key", "tls_client_ca", "grpc_tls_cert", "grpc_tls_key", "grpc_tls_client_ca")


class SecuritySettings(ObservabilitySettings, forbid_unknown_fields=True, frozen=True):
    """TLS, keys, names, proxies and the admin surface. It has a base because a struct of msgspec can have only one."""

    tls_cert: str = ""
    """PEM file of the certificate chain for HTTPS, and for gRPC on the same port; a relative path is resolved beside the configuration
    file. Not set: HTTP is not encrypted."""
    tls_key: str = ""
    """PEM file of that certificate's private key."""
    tls_client_ca: str = ""
    """PEM file of the certificate authorities that clients' certificates must come from (mutual TLS). Not set: clients need no
    certificate."""
    tls_handshake_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.25
    """Largest share of a core for the TLS handshakes of one IPv4 address or IPv6 network, beyond a burst; further ones wait. 1: no limit.
    Proxies in ``trusted_proxies`` have none."""
    grpc_tls_cert: str = ""
    """PEM file of the certificate chain for gRPC; a relative path is resolved beside the configuration file. Not set: gRPC is not
    encrypted."""
    grpc_tls_key: str = ""
    """PEM file of that certificate's private key."""
    grpc_tls_client_ca: str = ""
    """The same as ``tls_client_ca`` for gRPC on its own port."""
    access_keys: str = ""
    """File of the API keys of clients, which ``hub access create`` writes; a relative path is resolved beside the configuration file. It is
    read again when it changes. Not set: clients need no key."""
    admin: Literal["local", "off", "any"] = "local"
    """Clients that may use the admin surface: load and unload models, register shared memory, change logging and tracing, read
    ``/status``. ``local``: clients that connect directly from this machine, not through a proxy and not from a web page of another
    origin. ``off``: none. ``any``: every client that can reach the server. With ``access_keys``, each of them needs a key with the
    scope ``admin`` besides."""
    admin_port: Port | None = None
    """Port that has the admin surface, and all else that ``port`` answers; 0 for any free one. It speaks gRPC, too, if ``grpc_port`` is
    set. Set, nothing of the admin surface is answered on ``port`` and ``grpc_port``: its paths are unknown there."""
    admin_host: str = "127.0.0.1"
    """Address of ``admin_port``. With one that other machines can reach, ``admin`` must be ``any`` for clients there."""
    admin_socket: str = ""
    """The same as ``admin_port`` at a Unix socket, which only the server's user and root may open; a relative path is resolved beside
    the configuration file."""
    allowed_hosts: list[str] = []
    """Host names (``Host`` header) that clients may use besides ``localhost``, ``host``, this machine's name and IP addresses;
    ``"*.example.com"`` for all names of a domain, ``"*"`` for any. Not set: any name if ``host`` is reachable from other machines,
    else none besides these."""
    cors_origins: list[str] = []
    """Origins of other web pages that may use the server, such as ``"https://app.example.com"``; ``"*"`` for all. They have no access
    to the admin surface unless ``admin`` is ``any``."""
    trusted_proxies: list[str] = []
    """Addresses and networks of proxies whose ``X-Forwarded-For``, ``X-Forwarded-Proto``, ``X-Forwarded-Host`` and
    ``X-Forwarded-Prefix`` are believed, such as ``"127.0.0.1"`` or ``"10.0.0.0/8"``; ``"unix"`` for all clients of a Unix socket. Their
    connections do not count for ``max_connections_per_peer``."""
    root_path: str = ""
    """Path under which a proxy publishes the server, such as ``/models``; requests may come with or without it."""

    @property
    def has_own_admin(self) -> bool:
        """True if the admin surface is at an address of its own only."""
        return self.admin_port is not None or bool(self.admin_socket)
