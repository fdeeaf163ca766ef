"""Requests that are refused."""

import time

from hubserve.net.grpc.service import Service
from hubserve.net.http2.streams import Stream

#: how long, and for how many bytes, to wait for the end of a refused request
_PATIENCE_S = 0.5
_MUCH_BYTES = 64 << 10


class Refusal:
    """Answers a request without reading it; the receiver of its stream.

    It is answered once all of it is here, or much, or it takes long: some clients go wrong if they get their answer while they still send.

    Args:
        stream: the request's.
        service: the service that the request was for.
        answer: the data to send, as for :meth:`Stream.send`.

    Attributes:
        due: when it takes long; see :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
    """

    def __init__(self, stream: Stream, service: Service, *answer: bytes) -> None:
        self.due = time.monotonic() + _PATIENCE_S
        self._stream = stream
        self._deadlines = service.deadlines
        self._answer = answer
        self._came_bytes = 0
        self._deadlines.add(self)

    def add(self, data: bytes) -> None:
        """Discard a part of the request."""
        self._stream.taken(len(data))
        self._came_bytes += len(data)
        if self._came_bytes > _MUCH_BYTES:
            self.end()

    def room(self) -> None:
        """Nowhere."""

    def filled(self, count: int) -> None:
        """Do nothing; not called, since there is no receive buffer."""

    def end(self) -> None:
        """Answer."""
        self.lost()
        self._stream.receiver = None
        self._stream.send(*self._answer)

    def lost(self) -> None:
        """Handle that the client cancelled the request, or disconnected."""
        self._deadlines.discard(self)

    on_timeout = end
