"""gRPC's messages in a stream of bytes: a byte that says whether it is packed, four of its length, the message."""

import struct
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from hubserve.http2.status import RpcError, Status

#: what came
Message = bytes | bytearray
#: what goes: a message in parts
Answer = Sequence[bytes | memoryview]

_PREFIX = struct.Struct(">BI")
#: a message smaller than this is not accounted for while it comes: the windows bound how many there are
_SMALL_BYTES = 64 << 10


class Budget(Protocol):
    """What all calls together may have in memory of messages that are not complete."""

    def hold(self, count: int) -> None:
        """Account for so many bytes; raises what the call is refused with if there is no room."""

    def release(self, count: int) -> None:
        """They are there no more, or accounted for elsewhere."""


def prefixed(parts: Answer) -> list[bytes | memoryview]:
    """A message as it travels, in as few parts as there are without copying what is large.

    Args:
        parts: the message, in its parts.
    """
    joined: list[bytes | memoryview] = []
    small: list[bytes | memoryview] = [_PREFIX.pack(0, sum(map(len, parts)))]
    for part in parts:
        if len(part) > _SMALL_BYTES:
            joined += (b"".join(small), part)
            small = []
        else:
            small.append(part)
    if small:
        joined.append(b"".join(small))
    return joined


class MessageReader:
    """Puts the messages of one call together.

    Args:
        limit: the most bytes that one may have.
        most: so many are put together before one is read; of more, the bytes are kept as they came.
        budget: accounts for large ones until they are read.

    Attributes:
        complete: messages to be read, and whether they are packed.
        received_bytes: of the one that is coming.
    """

    __slots__ = ("_backlog", "_budget", "_held", "_limit", "_message", "_most", "_packed", "_start", "complete", "received_bytes")

    def __init__(self, limit: int, most: int, budget: Budget) -> None:
        self.complete: deque[tuple[Message, bool]] = deque()
        self.received_bytes = 0
        self._limit = limit
        self._most = most
        self._budget = budget
        self._start = b""  # of a prefix
        self._message: bytearray | None = None
        self._packed = False
        self._held = 0
        self._backlog = bytearray()

    @property
    def is_between(self) -> bool:
        """Whether there is nothing of a message that is not complete."""
        return self._message is None and not self._start and not self._backlog

    def add(self, data: bytes) -> None:
        """The next bytes came.

        Raises:
            RpcError: they are no message, or one that is too long.
            HubError: there is no room for it now.
        """
        if self._backlog:
            self._backlog += data
            return
        at = self._parse(data)
        if at < len(data):
            self._backlog += data[at:]

    def _parse(self, data: bytes | bytearray) -> int:
        """Read messages until there are enough; returns how many bytes were needed."""
        at, end = 0, len(data)
        while at < end:
            if self._message is not None:
                part = data[at : at + len(self._message) - self.received_bytes]
                self._message[self.received_bytes : self.received_bytes + len(part)] = part
                at += len(part)
                self.filled(len(part))
                continue
            if len(self.complete) >= self._most:
                break
            if self._start or end - at < _PREFIX.size:
                missing = _PREFIX.size - len(self._start)
                self._start += data[at : at + missing]
                at += missing
                if len(self._start) == _PREFIX.size:
                    self._begin(*_PREFIX.unpack(self._start))
                    self._start = b""
                continue
            packed, length = _PREFIX.unpack_from(data, at)
            at += _PREFIX.size
            if packed <= 1 and length <= min(self._limit, _SMALL_BYTES, end - at):
                self.complete.append((bytes(data[at : at + length]), packed == 1))
                at += length
            else:
                self._begin(packed, length)
        return min(at, end)

    def _begin(self, packed: int, length: int) -> None:
        if packed > 1:
            raise RpcError(Status.INTERNAL, f"a message begins with {packed}, where 0 or 1 says whether it is packed")
        if length > self._limit:
            text = (
                f"a message of {length} bytes came, the limit is {self._limit}; send fewer items at once or raise 'grpc_max_message_bytes'"
            )
            raise RpcError(Status.RESOURCE_EXHAUSTED, text)
        if length > _SMALL_BYTES:
            self._budget.hold(length)
            self._held += length
        self._message, self._packed, self.received_bytes = bytearray(length), packed == 1, 0
        self.filled(0)

    def room(self) -> memoryview | None:
        """Where the rest of a message is to be put."""
        return memoryview(self._message)[self.received_bytes :] if self._message else None

    def filled(self, count: int) -> None:
        """So many bytes have been put where :meth:`room` said."""
        self.received_bytes += count
        if self._message is not None and self.received_bytes == len(self._message):
            self.complete.append((self._message, self._packed))
            self._message = None

    def next(self) -> tuple[Message, bool]:
        """Take the first of the messages that are complete, and go on with what has been kept.

        Raises:
            RpcError: that is no message, or one that is too long.
            HubError: there is no room for it now.
        """
        message = self.complete.popleft()
        if len(message[0]) > _SMALL_BYTES:
            self._release(len(message[0]))
        if self._backlog:
            del self._backlog[: self._parse(self._backlog)]
        return message

    def close(self) -> None:
        """Keep nothing."""
        self._message, self._start = None, b""
        self.complete.clear()
        self._backlog.clear()
        self._release(self._held)

    def _release(self, count: int) -> None:
        if count:
            self._held -= count
            self._budget.release(count)
