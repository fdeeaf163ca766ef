"""gRPC's length-prefixed messages: a byte that says whether the message is compressed, four of its length, the message."""

import struct
from collections import deque
from collections.abc import Sequence

import numpy as np

from hubserve.net.admission import SMALL_BYTES, MemoryBudget
from hubserve.net.grpc.status import RpcError, Status

#: a received message
Message = bytes | memoryview
#: a message to send, in parts
Answer = Sequence[bytes | memoryview]

_PREFIX = struct.Struct(">BI")
#: a message's buffer has at most this many times the bytes received of it
_GROWTH = 16


def prefixed(parts: Answer, size: int) -> list[bytes | memoryview]:
    """Return a message with its prefix, in as few parts as possible without copying large ones.

    Args:
        parts: the message, in its parts.
        size: of the message, in bytes.
    """
    joined: list[bytes | memoryview] = []
    small: list[bytes | memoryview] = [_PREFIX.pack(0, size)]
    for part in parts:
        if len(part) > SMALL_BYTES:
            joined += (b"".join(small), part)
            small = []
        else:
            small.append(part)
    if small:
        joined.append(b"".join(small))
    return joined


class MessageReader:
    """Reader of the messages of one call.

    Memory is allocated and accounted for as bytes arrive, not as they are announced. The first 64 KiB are not accounted for, as calls are
    limited in number.

    Args:
        limit: the most bytes of a message.
        most: how many are joined before one is read; the bytes of further ones are kept as received.
        budget: accounts for the data kept beyond the first 64 KiB, until it is read.

    Attributes:
        complete: complete messages, and whether they are compressed.
        received_bytes: of the incomplete message.
    """

    __slots__ = (
        "_backlog",
        "_budget",
        "_buffered_bytes",
        "_compressed",
        "_held",
        "_length",
        "_limit",
        "_message",
        "_most",
        "_prefix",
        "complete",
        "received_bytes",
    )

    def __init__(self, limit: int, most: int, budget: MemoryBudget) -> None:
        self.complete: deque[tuple[Message, bool]] = deque()
        self.received_bytes = 0
        self._limit = limit
        self._most = most
        self._budget = budget
        self._prefix = b""  # as far as received
        self._message: memoryview | None = None  # the buffer that it has so far
        self._length = 0  # of the message
        self._compressed = False
        self._buffered_bytes = 0  # of messages, in all
        self._held = 0
        self._backlog = bytearray()

    @property
    def is_between(self) -> bool:
        """Return True if no message is incomplete."""
        return self._message is None and not self._prefix and not self._backlog

    def feed(self, data: bytes) -> None:
        """Receive the next bytes.

        Raises:
            RpcError: the message is malformed or too long.
            HubError: the server has no memory for it now.
        """
        if self._backlog:
            self._backlog += data
        else:
            at = self._parse(data)
            if at < len(data):
                self._backlog += data[at:]
        if self._buffered_bytes + len(self._backlog) > SMALL_BYTES:
            self._account()

    def _account(self) -> None:
        """Account for the buffered bytes beyond the first 64 KiB."""
        over = max(0, self._buffered_bytes + len(self._backlog) - SMALL_BYTES)
        if over > self._held:
            self._budget.hold(over - self._held, SMALL_BYTES + self._held)
        elif over < self._held:
            self._budget.release(self._held - over)
        self._held = over

    def _parse(self, data: bytes | bytearray) -> int:
        """Read messages until there are enough; return how many bytes were read."""
        at, end = 0, len(data)
        while at < end:
            if self._message is not None:
                part = data[at : at + len(self._message) - self.received_bytes]
                self._message[self.received_bytes : self.received_bytes + len(part)] = part
                at += len(part)
                self._advance(len(part))
                continue
            if len(self.complete) >= self._most:
                break
            if self._prefix or end - at < _PREFIX.size:
                missing = _PREFIX.size - len(self._prefix)
                self._prefix += data[at : at + missing]
                at += missing
                if len(self._prefix) == _PREFIX.size:
                    compressed, length = _PREFIX.unpack(self._prefix)
                    self._begin(compressed, length, end - at)
                    self._prefix = b""
                continue
            compressed, length = _PREFIX.unpack_from(data, at)
            at += _PREFIX.size
            if compressed <= 1 and length <= min(self._limit, SMALL_BYTES, end - at):
                self.complete.append((bytes(data[at : at + length]), compressed == 1))
                self._buffered_bytes += length
                at += length
            else:
                self._begin(compressed, length, end - at)
        return min(at, end)

    def _begin(self, compressed: int, length: int, received: int) -> None:
        """Begin a message of which ``received`` bytes are here."""
        if compressed > 1:
            raise RpcError(Status.INTERNAL, f"malformed message: its first byte is {compressed}, not 0 or 1 (compressed)")
        if length > self._limit:
            text = f"a message of {length} bytes exceeds the limit of {self._limit}"
            text += "; send fewer items at once or raise 'grpc_max_message_bytes'"
            raise RpcError(Status.RESOURCE_EXHAUSTED, text)
        if length > SMALL_BYTES:
            self._budget.check_room(length)
        self._length, self._compressed, self.received_bytes = length, compressed == 1, 0
        self._message = _allocate(length, received)
        self._advance(0)

    def receive_buffer(self) -> memoryview | None:
        """Return the buffer for the next part of a message."""
        return self._message[self.received_bytes :] if self._message is not None else None

    def buffer_filled(self, count: int) -> None:
        """Account for ``count`` bytes written to the buffer that :meth:`receive_buffer` returned.

        Raises:
            HubError: the server has no memory for them now.
        """
        self._advance(count)
        if self._buffered_bytes > SMALL_BYTES:
            self._account()

    def _advance(self, count: int) -> None:
        """Count bytes that were put into the message's buffer."""
        self.received_bytes += count
        self._buffered_bytes += count
        message = self._message
        if message is None or self.received_bytes < len(message):
            return
        if self.received_bytes == self._length:
            self.complete.append((message, self._compressed))
            self._message = None
        else:
            self._message = _allocate(self._length, self.received_bytes)
            self._message[: self.received_bytes] = message

    def next(self) -> tuple[Message, bool]:
        """Remove and return the first complete message, and continue with the bytes kept.

        Raises:
            RpcError: a message in them is malformed or too long.
            HubError: the server has no memory for it now.
        """
        message = self.complete.popleft()
        self._buffered_bytes -= len(message[0])
        if self._backlog:
            del self._backlog[: self._parse(self._backlog)]
        if self._held:
            self._account()
        return message

    def close(self) -> None:
        """Discard everything."""
        self._message, self._prefix = None, b""
        self.complete.clear()
        self._backlog.clear()
        self._buffered_bytes = 0
        if self._held:
            self._account()


def _allocate(length: int, received: int) -> memoryview:
    """Allocate a buffer for a message, or for a first part of it.

    Args:
        length: the message's.
        received: how many bytes of it are here.
    """
    return np.empty(min(length, max(SMALL_BYTES, received * _GROWTH)), np.uint8).data
