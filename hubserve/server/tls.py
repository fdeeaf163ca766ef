"""TLS of a server's ports: its certificates, read again when their files change."""

import asyncio
import datetime
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hubserve.errors import ConfigError
from hubserve.net.connection_limits import Connections
from hubserve.net.proxies import Proxies
from hubserve.net.tls.handshake_limits import HandshakeLimits
from hubserve.net.tls.listener import TlsListener
from hubserve.settings import ServerSettings
from hubserve.telemetry.telemetry import Telemetry
from hubserve.wire.certificates import ReloadingContext, TlsFiles

log = logging.getLogger("hubserve")

_CHECK_EVERY_S = 2.0
_WARN_BEFORE = datetime.timedelta(days=7)
#: gRPC's clients offer only h2; browsers and others offer both, and must get the one in which all protocols are served
_HTTP, _GRPC = ("http/1.1", "h2"), ("h2",)


class ServerTls:
    """TLS of the ports of one server.

    Args:
        settings: the server's.
        limit: counts its connections.
        telemetry: counts handshakes.

    Attributes:
        http: of the HTTP port, which gRPC may share; None if it is not encrypted.
        grpc: of gRPC's own port; None if it has none, or is not encrypted.
        admin: of the port of the admin surface, with the files of HTTP; None if it has none, or is not encrypted.

    Raises:
        ConfigError: a file cannot be used.
    """

    def __init__(self, settings: ServerSettings, limit: Connections, telemetry: Telemetry) -> None:
        def listener(files: TlsFiles, alpn: tuple[str, ...]) -> TlsListener | None:
            if not files.certificate:
                return None
            contexts = ReloadingContext(files, alpn=alpn)
            return TlsListener(contexts, limit, settings.client_timeout_s, telemetry.handshakes, limits)

        limits = HandshakeLimits(settings.tls_handshake_share, Proxies(settings).trusts)

        own_grpc = settings.grpc_port is not None and not settings.has_one_port
        http = TlsFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        grpc = TlsFiles(settings.grpc_tls_cert, settings.grpc_tls_key, settings.grpc_tls_client_ca)
        self.http = listener(http, _HTTP if settings.has_one_port else _HTTP[:1])
        self.grpc = listener(grpc, _GRPC) if own_grpc else None
        has_admin_port = settings.admin_port is not None
        self.admin = listener(http, _HTTP if settings.grpc_port is not None else _HTTP[:1]) if has_admin_port else None
        for each in (self.http, self.grpc):
            if each:
                _warn(each.contexts.files)
        self._failed: dict[TlsFiles, str] = {}
        self._task: asyncio.Task[None] | None = None
        if self.http and own_grpc and not self.grpc:
            log.warning("HTTP is encrypted, and gRPC on its own port is not; set grpc_tls_cert and grpc_tls_key, too")

    @property
    def scheme(self) -> str:
        """Return the scheme of the HTTP port's addresses."""
        return "https" if self.http else "http"

    def follow(self) -> None:
        """Read the files again whenever they change, until :meth:`stop`."""
        if any(self._listeners()):
            self._task = asyncio.get_running_loop().create_task(self._follow())

    def stop(self) -> None:
        """End handshakes in progress, and follow the files no longer."""
        if self._task:
            self._task.cancel()
        for listener in self._listeners():
            listener.stop()

    async def reload(self) -> None:
        """Read files that have changed; new handshakes use them.

        Raises:
            ConfigError: they cannot be used; the last good ones stay in use.
        """
        errors = [error for listener in self._listeners() if (error := await self._check(listener.contexts))]
        if errors:
            raise ConfigError(f"the last good certificate stays in use: {errors[0]}")

    def _listeners(self) -> Iterator[TlsListener]:
        return (each for each in (self.admin, self.http, self.grpc) if each)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_EVERY_S)
            for listener in self._listeners():
                try:
                    await self._check(listener.contexts)
                except Exception:  # must not end the task
                    log.exception("an unexpected error while reading certificates")

    async def _check(self, contexts: ReloadingContext) -> str:
        """Read the files again if they have changed; return why they cannot be used, or ""."""
        files = contexts.files
        try:
            is_new = await asyncio.to_thread(contexts.check)
        except ConfigError as error:
            if self._failed.get(files) != error.message:  # a pair whose second file has not come yet is tried again soon
                self._failed[files] = error.message
                log.warning("the last good certificate stays in use, and the new files are tried again: %s", error.message)
            return error.message
        self._failed.pop(files, None)
        if is_new and not (self.admin and contexts is self.admin.contexts):  # its files are those of HTTP
            log.info("new connections use the changed certificate '%s'", files.certificate)
            _warn(files)
        return ""


def _warn(files: TlsFiles) -> None:
    """Log what an operator should know of files that can be used."""
    from cryptography import x509  # takes time, and is needed with TLS only

    certificate = x509.load_pem_x509_certificates(Path(files.certificate).read_bytes())[0]
    now = datetime.datetime.now(datetime.timezone.utc)
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if until < now:
        log.warning("the certificate '%s' expired on %s, and clients will refuse it; renew it", files.certificate, until.date())
    elif since > now:
        log.warning("the certificate '%s' is valid only from %s, and clients will refuse it until then", files.certificate, since.date())
    elif until - now < _WARN_BEFORE:
        log.warning("the certificate '%s' expires on %s; renew it", files.certificate, until.date())
    with suppress(OSError):
        if os.stat(files.key).st_mode & (stat.S_IROTH | stat.S_IWOTH):
            log.warning("the private key '%s' can be read by every user of this machine; run: chmod 600 '%s'", files.key, files.key)
