"""Write responses to one client, and wait for a client that reads slowly."""

import asyncio
from typing import Any

from hubserve.net.http1.unsent_responses import UnsentResponses

#: a body larger than this is written after its headers instead of being joined to them
_JOINED_BYTES = 64 << 10
#: the start of every response
_RESPONSE_START = b"HTTP/1.1 "


class ResponseWriter:
    """Write side of a connection.

    Args:
        transport: the connection's.
        unsent: counts the bytes that the client has not read.

    Attributes:
        closed: whether the client can no longer be written to.
        unsent: see Args.
    """

    def __init__(self, transport: Any, unsent: UnsentResponses) -> None:
        transport.set_write_buffer_limits(0)  # wait whenever the kernel does not accept everything at once
        self.closed = False
        self.unsent = unsent
        self._transport = transport
        self._resumed: asyncio.Event | None = None  # set once the client has read enough
        self._sent_ahead = 0  # bytes of the response's head

    def write(self, head: bytes, body: Any) -> None:
        """Write to the client, in one call unless the body is large."""
        if self.closed:
            return
        if self._sent_ahead:
            head, self._sent_ahead = head[self._sent_ahead :], 0
        if not body:
            self._transport.write(head)
        elif len(body) <= _JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def write_ahead(self) -> None:
        """Write the first bytes of the next response, which all responses share."""
        if not self._sent_ahead:
            self._transport.write(_RESPONSE_START)
            self._sent_ahead = len(_RESPONSE_START)

    @property
    def is_paused(self) -> bool:
        """Return True if the client reads too slowly."""
        return self._resumed is not None

    async def drain(self) -> None:
        """Wait until the client has read what was written."""
        while self._resumed and not self.closed:
            await self._resumed.wait()

    def pause(self) -> None:
        """Handle that the client reads too slowly."""
        self._resumed = asyncio.Event()
        self.unsent.wait(self._transport)

    def resume(self) -> None:
        """Handle that the client has read what was written."""
        self.unsent.end()
        if self._resumed:
            self._resumed.set()
            self._resumed = None

    def connection_lost(self) -> None:
        """Handle that the connection is closed."""
        self.closed = True
        self.unsent.end()
        if self._resumed:
            self._resumed.set()
