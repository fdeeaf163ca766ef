"""Switch a connection to another protocol: streams of bytes after "101 Switching Protocols", or HTTP/2."""

import asyncio
from collections.abc import Callable
from typing import Any

from hubserve.net.http2.endpoint import Endpoint

_LIMIT_BYTES = 64 << 10


class _StreamProtocol(asyncio.StreamReaderProtocol):
    """Replacement of an HTTP connection, which is still notified when the connection closes."""

    def __init__(self, reader: asyncio.StreamReader, on_lost: Callable[[Exception | None], None]) -> None:
        super().__init__(reader)
        self._on_lost = on_lost

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._on_lost(exc)


def switch_to_streams(
    transport: asyncio.Transport, early: bytes, on_lost: Callable[[Exception | None], None]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return streams of a connection's bytes.

    Args:
        transport: the connection's.
        early: bytes received already.
        on_lost: called when the connection has closed.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LIMIT_BYTES, loop=loop)
    protocol = _StreamProtocol(reader, on_lost)
    transport.set_protocol(protocol)
    transport.set_write_buffer_limits(_LIMIT_BYTES)
    protocol.connection_made(transport)
    if early:
        reader.feed_data(early)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def switch_to_http2(transport: Any, endpoint: Endpoint[Any], data: bytes) -> None:
    """Let an HTTP/2 connection replace an HTTP/1.1 connection.

    Args:
        transport: the connection's.
        endpoint: makes the HTTP/2 connection.
        data: bytes received already.
    """
    connection = endpoint.connect()
    transport.set_protocol(connection)
    connection.connection_made(transport)
    connection.received(data)
