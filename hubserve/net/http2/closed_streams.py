"""State kept for closed streams: RFC 9113, sections 5.1 and 5.1.1."""

from collections import deque

from hubserve.bounded_cache import Recent

_REMEMBERED = 256


class ClosedStreams:
    """Remember the most recently closed streams of one connection; bounded, since clients may use new numbers for ever."""

    def __init__(self) -> None:
        self._ended_here: Recent[int, None] = Recent(_REMEMBERED)
        self._skipped: deque[range] = deque(maxlen=_REMEMBERED)

    def skip(self, numbers: range) -> None:
        """Note that streams are closed that were never opened, as one above them was."""
        self._skipped.append(numbers)

    def end_here(self, number: int) -> None:
        """Note that this side ended a stream; its client may not know yet."""
        self._ended_here[number] = None

    def is_ended_here(self, number: int) -> bool:
        """Return True if this side ended the stream, so that frames already on their way are not the client's fault."""
        return number in self._ended_here

    def is_skipped(self, number: int) -> bool:
        """Return True if the stream was never opened."""
        return any(number in each for each in self._skipped)
