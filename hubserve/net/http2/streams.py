"""Stream of an HTTP/2 connection: one request and its response."""

import asyncio
from collections import deque
from typing import Protocol

from hubserve.net.body_receiver import BodyReceiver
from hubserve.net.http2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, ErrorCode

#: bytes of one stream that a client may send before they are consumed
STREAM_WINDOW = 1 << 20


class Receiver(BodyReceiver, Protocol):
    """Receiver of a request's body."""

    def end(self) -> None:
        """Handle the end of the body."""

    def lost(self) -> None:
        """Handle that the client cancelled the request, or disconnected."""


class Sender(Protocol):
    """Send side of the connection.

    Attributes:
        initial_window: the send window of a new stream.
    """

    initial_window: int

    def send(self, stream: "Stream", head: bytes, data: bytes | memoryview, end: bytes) -> None:
        """Send or queue parts of a response."""

    def drop(self, stream: "Stream") -> None:
        """Discard what is queued of a response."""


class WindowCredit(Protocol):
    """Receive side of the connection."""

    def credit(self, count: int) -> None:
        """Return bytes to the connection's window."""

    def open_window(self, number: int, count: int) -> None:
        """Allow the client to send more of a stream."""


class Owner(Protocol):
    """The connection."""

    @property
    def peer(self) -> str:
        """The client's address."""

    @property
    def client_certificate(self) -> str:
        """The subject of the client's certificate; "" for none."""

    def reset(self, stream: "Stream", code: ErrorCode) -> None:
        """End a stream at once."""


class Stream:
    """One request and its response.

    Args:
        number: its id.
        owner: its connection.
        sender: the connection's send side.
        window_credit: the connection's receive side.

    Attributes:
        id: its number.
        receiver: receives the request's body; None once the body is no longer needed.
        send_window: bytes that the client accepts now, without regard to the connection's window.
        receive_window: bytes that the client may send now.
        held_bytes: bytes received and not yet consumed.
        is_blocked: whether queued data waits for the stream's own window.
        missing_bytes: of a body whose length was announced, bytes that no DATA frame has announced yet; None without ``content-length``.
        received_end: whether the request is complete.
        sent_end: whether the response is complete; parts of it may be queued.
        sent_bytes: bytes sent of those that were queued.
        pending: queued frames of the response: type, flags, payload.
    """

    __slots__ = (
        "_credit",
        "_owner",
        "_sender",
        "_waiter",
        "_window_credit",
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

    def __init__(self, number: int, owner: Owner, sender: Sender, window_credit: WindowCredit) -> None:
        self.id = number
        self.receiver: Receiver | None = None
        self.send_window = sender.initial_window
        self.receive_window = STREAM_WINDOW
        self.held_bytes = 0
        self.is_blocked = False
        self.missing_bytes: int | None = None
        self.received_end = False
        self.sent_bytes = 0
        self.sent_end = False
        self.pending: deque[tuple[int, int, memoryview]] = deque()
        self._owner = owner
        self._sender = sender
        self._window_credit = window_credit
        self._credit = 0  # consumed bytes that no WINDOW_UPDATE has returned yet
        self._waiter: asyncio.Future[None] | None = None

    @property
    def peer(self) -> str:
        """The client's address, without the port; "" if unknown."""
        return self._owner.peer

    @property
    def client_certificate(self) -> str:
        """The subject of the client's certificate; "" for none."""
        return self._owner.client_certificate

    def send(self, head: bytes, data: bytes | memoryview, end: bytes) -> None:
        """Send parts of the response, as soon as the client's windows allow it.

        Args:
            head: the header block that starts the response, or b"".
            data: of the body, or b"".
            end: the header block of the trailers, or b"".
        """
        if self.sent_end:
            return
        self.sent_end = bool(end)
        self._sender.send(self, head, data, end)

    async def flushed(self) -> None:
        """Wait until all data is sent.

        Raises:
            asyncio.CancelledError: the client cancelled the request, or disconnected.
        """
        while self.pending:
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)  # one of several waiting tasks may be cancelled by itself

    def credit(self, count: int) -> None:
        """Return ``count`` consumed bytes of the body to the flow-control windows."""
        if count > self.held_bytes:  # the stream has ended, and its bytes are returned already
            return
        self.held_bytes -= count
        self._window_credit.credit(count)
        if self.received_end:
            return
        self._credit += count
        if self._credit >= STREAM_WINDOW // 2:
            self._window_credit.open_window(self.id, self._credit)
            self.receive_window += self._credit
            self._credit = 0

    def drop_pending(self) -> bool:
        """Discard what is queued; return True if it included the start of the response."""
        with_head = bool(self.pending) and self.pending[0][0] == HEADERS
        self._sender.drop(self)
        self.wake()
        return with_head

    def reset(self, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """End the stream at once, in both directions."""
        self._owner.reset(self, code)

    # --- for the connection ---

    def queue(self, head: bytes, data: bytes | memoryview, end: bytes) -> None:
        """Queue parts of the response."""
        if head:
            self.pending.append((HEADERS, END_HEADERS, memoryview(head)))
        if data:
            self.pending.append((DATA, 0, memoryview(data)))
        if end:
            self.pending.append((HEADERS, END_HEADERS | END_STREAM, memoryview(end)))

    def wake(self) -> None:
        """Wake the tasks that wait in :meth:`flushed`."""
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None

    def lost(self) -> None:
        """Handle that the stream ended: the client cancelled the request or disconnected, or the server reset it."""
        receiver, self.receiver = self.receiver, None
        self.sent_end = True  # send nothing more
        self.pending.clear()
        if self._waiter:
            self._waiter.cancel()
        if receiver:
            receiver.lost()
