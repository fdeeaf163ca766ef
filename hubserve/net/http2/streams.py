"""One stream of an HTTP/2 connection: a request's bytes in, an answer's bytes out."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from hubserve.net.http2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, ErrorCode

if TYPE_CHECKING:
    from hubserve.net.http2.connection import Http2Connection

#: what a client may send of one stream before it is taken
STREAM_WINDOW = 1 << 20


class Receiver(Protocol):
    """Takes what comes of a request's body."""

    def add(self, data: bytes) -> None:
        """The next part came."""

    def room(self) -> memoryview | None:
        """Where the next parts are to be put; None if they are to be given to :meth:`add`."""

    def filled(self, count: int) -> None:
        """So many bytes have been put there."""

    def end(self) -> None:
        """The body is complete."""

    def lost(self) -> None:
        """The client has given the request up, or left."""


class Stream:
    """One stream.

    Attributes:
        id: its number.
        receiver: takes what comes; None once nobody wants it any more.
        send_window: how many bytes the client takes now, not counting what the connection allows.
        receive_window: how many bytes the client may send now.
        held_bytes: how many came that are not yet taken.
        is_blocked: whether something waits that its window has no room for.
        missing_bytes: of a body whose length the request says, how many have not been announced by DATA frames; None if it does not say.
        received_end: whether the client has sent all of it.
        sent_end: whether the answer is complete.
        sent_bytes: how much of what had to wait has been sent.
        pending: of the answer, what the client has not yet allowed to be sent: frame type, flags, payload.
    """

    __slots__ = (
        "_connection",
        "_untold",
        "_waiter",
        "held_bytes",
        "id",
        "is_blocked",
        "missing_bytes",
        "pending",
        "receive_window",
        "received_end",
        "receiver",
        "send_window",
        "sent_bytes",
        "sent_end",
    )

    def __init__(self, number: int, connection: "Http2Connection") -> None:
        self.id = number
        self.receiver: Receiver | None = None
        self.send_window = connection.outbox.initial_window
        self.receive_window = STREAM_WINDOW
        self.held_bytes = 0
        self.is_blocked = False
        self.missing_bytes: int | None = None
        self.received_end = False
        self.sent_bytes = 0
        self.sent_end = False
        self.pending: deque[tuple[int, int, memoryview]] = deque()
        self._connection = connection
        self._untold = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def peer(self) -> str:
        """The client's address, without the port; "" if it is not known."""
        return self._connection.peer

    def send(self, head: bytes, data: bytes | memoryview, end: bytes) -> None:
        """Send parts of the answer, as soon as the client allows it.

        Args:
            head: a block of fields that the answer begins with, or b"".
            data: of the body, or b"".
            end: a block of fields that the answer ends with, or b"".
        """
        if self.sent_end:
            return
        self.sent_end = bool(end)
        self._connection.outbox.send(self, head, data, end)

    async def flushed(self) -> None:
        """Wait until the client has allowed all of it to be sent; who waits is cancelled if it gives the request up instead, or leaves."""
        while self.pending:
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)  # of those who wait, one may be cancelled for itself

    def taken(self, count: int) -> None:
        """So many bytes of the body need no room any more: the client may send as many others."""
        if count > self.held_bytes:  # it has ended, and what it held is given back already
            return
        self.held_bytes -= count
        self._connection.inbox.taken(count)
        if self.received_end:
            return
        self._untold += count
        if self._untold >= STREAM_WINDOW // 2:
            self._connection.inbox.widen(self.id, self._untold)
            self.receive_window += self._untold
            self._untold = 0

    def drop_pending(self) -> bool:
        """Do not send what waits; returns whether the beginning of the answer was among it."""
        with_head = bool(self.pending) and self.pending[0][0] == HEADERS
        self._connection.outbox.drop(self)
        self.wake()
        return with_head

    def reset(self, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """End it at once, in both directions."""
        self._connection.reset(self, code)

    # --- for the connection ---

    def queue(self, head: bytes, data: bytes | memoryview, end: bytes) -> None:
        """Keep what cannot be sent now."""
        if head:
            self.pending.append((HEADERS, END_HEADERS, memoryview(head)))
        if data:
            self.pending.append((DATA, 0, memoryview(data)))
        if end:
            self.pending.append((HEADERS, END_HEADERS | END_STREAM, memoryview(end)))

    def wake(self) -> None:
        """What was waited for has happened."""
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None

    def lost(self) -> None:
        """The client has given it up, or left."""
        receiver, self.receiver = self.receiver, None
        self.sent_end = True  # nothing is to be sent of it any more
        self.pending.clear()
        if self._waiter:
            self._waiter.cancel()
        if receiver:
            receiver.lost()
