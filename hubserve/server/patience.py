"""Cuts off clients that open connections and do not use them."""

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_NOT_IN_TIME = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\ncontent-length: 44\r\nconnection: close\r\n\r\n"
    b"the request's headers did not come in time.\n"
)


def http_protocol(timeout_s: float) -> type[asyncio.Protocol]:
    """Uvicorn's HTTP protocol, which ends a connection whose next headers take longer than ``timeout_s``."""

    class PatientProtocol(HttpToolsProtocol):
        """One connection."""

        headers_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            """A client connected: it is expected to speak."""
            super().connection_made(transport)
            self._expect_headers()

        def on_message_begin(self) -> None:
            """The first bytes of a request came."""
            super().on_message_begin()
            if self.headers_timer is None:
                self._expect_headers()

        def on_headers_complete(self) -> None:
            """The headers are here; what follows is watched where it is read."""
            self._cancel()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            """The connection is closed."""
            self._cancel()
            super().connection_lost(exc)

        def _expect_headers(self) -> None:
            self.headers_timer = self.loop.call_later(timeout_s, self._cut_off)

        def _cancel(self) -> None:
            if self.headers_timer:
                self.headers_timer.cancel()
                self.headers_timer = None

        def _cut_off(self) -> None:
            if self.transport and not self.transport.is_closing():
                self.transport.write(_NOT_IN_TIME)
                self.transport.close()

    return PatientProtocol


def end_unread_answers(listener: socket.socket, timeout_s: float) -> None:
    """Have the kernel end connections that ``listener`` accepts when what was sent to them is not taken for ``timeout_s``."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(timeout_s * 1e3)))
