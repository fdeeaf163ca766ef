"""Bytes of a connection that has changed to another protocol."""

import asyncio
from collections.abc import Callable

_LIMIT_BYTES = 64 << 10


class _Successor(asyncio.StreamReaderProtocol):
    """Takes the place of an HTTP connection, which is still notified when the connection closes."""

    def __init__(self, reader: asyncio.StreamReader, on_lost: Callable[[Exception | None], None]) -> None:
        super().__init__(reader)
        self._on_lost = on_lost

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._on_lost(exc)


def take_streams(
    transport: asyncio.Transport, early: bytes, on_lost: Callable[[Exception | None], None]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Read and write a connection's bytes from now on.

    Args:
        transport: the connection's.
        early: bytes that came already.
        on_lost: called when the connection has closed.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LIMIT_BYTES, loop=loop)
    protocol = _Successor(reader, on_lost)
    transport.set_protocol(protocol)
    transport.set_write_buffer_limits(_LIMIT_BYTES)
    protocol.connection_made(transport)
    if early:
        reader.feed_data(early)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
