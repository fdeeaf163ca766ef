"""What is remembered of streams that are closed: RFC 9113, sections 5.1 and 5.1.1."""

from collections import deque

from hubserve.recent import Recent

_REMEMBERED = 256


class ClosedStreams:
    """The streams of one connection that are no longer open; the last of them, since clients may use numbers for ever."""

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
        """Whether this side ended the stream, so that frames which were on their way are not the client's fault."""
        return number in self._ended_here

    def is_skipped(self, number: int) -> bool:
        """Whether the stream was never opened."""
        return any(number in each for each in self._skipped)
