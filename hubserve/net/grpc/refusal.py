"""Refuse requests without reading them."""

import time

from hubserve.net.grpc.service import Service
from hubserve.net.http2.streams import Stream

#: how long, and for how many bytes, to wait for the end of a refused request
_MAX_WAIT_S = 0.5
_MAX_BYTES = 64 << 10


class Refusal:
    """Refusal of one request; the receiver of its stream.

    It is sent once the request is complete, large or late: some clients fail if they are answered while they still send.

    Args:
        stream: the request's.
        service: the service that the request was for.
        answer: the response, as for :meth:`Stream.send`.

    Attributes:
        due: when to stop waiting for the end of the request; see :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
    """

    def __init__(self, stream: Stream, service: Service, *answer: bytes) -> None:
        self.due = time.monotonic() + _MAX_WAIT_S
        self._stream = stream
        self._deadlines = service.deadlines
        self._answer = answer
        self._received_bytes = 0
        self._deadlines.add(self)

    def feed(self, data: bytes) -> None:
        """Discard a part of the request."""
        self._stream.credit(len(data))
        self._received_bytes += len(data)
        if self._received_bytes > _MAX_BYTES:
            self.end()

    def receive_buffer(self) -> None:
        """Return None: refused bodies are discarded."""

    def buffer_filled(self, count: int) -> None:
        """Do nothing; not called, since there is no receive buffer."""

    def end(self) -> None:
        """Send the refusal."""
        self.lost()
        self._stream.receiver = None
        self._stream.send(*self._answer)

    def lost(self) -> None:
        """Handle that the client cancelled the request, or disconnected."""
        self._deadlines.discard(self)

    on_timeout = end
