"""Streams of one connection and their states: RFC 9113, sections 5.1 and 5.1.1."""

from collections import deque

from hubserve.bounded_cache import BoundedCache
from hubserve.net.http2.frames import ConnectionFault, ErrorCode
from hubserve.net.http2.streams import Stream

#: closed streams that are remembered: clients may use new numbers for ever
_REMEMBERED = 256


class StreamTable:
    """Streams of one connection.

    Attributes:
        in_progress: number -> stream.
        highest: the highest number that the client used.
        last_accepted: the highest number of a request that was accepted, for GOAWAY.
    """

    def __init__(self) -> None:
        self.in_progress: dict[int, Stream] = {}
        self.highest = 0
        self.last_accepted = 0
        self._reset: BoundedCache[int, None] = BoundedCache(_REMEMBERED)
        self._skipped: deque[range] = deque(maxlen=_REMEMBERED)

    def open(self, number: int) -> None:
        """Record that the client opens a stream, which closes all unused ones below it."""
        if number > self.highest + 2:
            self._skipped.append(range(self.highest + 1, number))
        self.highest = number

    def add(self, stream: Stream) -> None:
        """Add a stream whose request is accepted."""
        self.last_accepted = stream.id
        self.in_progress[stream.id] = stream

    def remove(self, stream: Stream) -> None:
        """Remove a stream that has ended in both directions."""
        del self.in_progress[stream.id]

    def clear(self) -> list[Stream]:
        """Remove and return all streams in progress."""
        streams = list(self.in_progress.values())
        self.in_progress.clear()
        return streams

    def is_in_progress(self, stream: Stream) -> bool:
        """Return True if the stream has not ended in both directions."""
        return self.in_progress.get(stream.id) is stream

    def check_not_idle(self, number: int, name: str) -> None:
        """Check that a frame's stream was opened.

        Args:
            number: the stream.
            name: the frame's.
        Raises:
            ConnectionFault: the stream is idle.
        """
        if number > self.highest:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{name} on idle stream {number}")

    def record_reset(self, number: int) -> None:
        """Record that the server resets a stream; its client may not know yet."""
        self._reset[number] = None

    def was_reset(self, number: int) -> bool:
        """Return True if the server reset the stream, so that frames already on their way are not the client's fault."""
        return number in self._reset

    def check_trailers_of_closed(self, number: int) -> None:
        """Check whether a HEADERS frame may arrive for a stream that is closed.

        Raises:
            ConnectionFault: it may not.
        """
        if any(number in each for each in self._skipped):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"HEADERS opens stream {number} after a higher one")
        if number not in self._reset:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"HEADERS on closed stream {number}")
