"""gRPC's messages in a stream of bytes: a byte that says whether it is packed, four of its length, the message."""

import struct
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from hubserve.net.grpc.status import RpcError, Status

#: what came
Message = bytes | memoryview
#: what goes: a message in parts
Answer = Sequence[bytes | memoryview]

_PREFIX = struct.Struct(">BI")
#: so much of each call's messages and answers is not accounted for; calls are bounded in number
SMALL_BYTES = 64 << 10
#: a message's place has at most this many times the bytes that came of it
_GROWTH = 16


class Budget(Protocol):
    """Memory budget of all calls' messages and answers; methods raise the error that refuses a call if there is no room."""

    def hold(self, count: int, held: int = 0) -> None:
        """Account for bytes that came of a call that holds others already."""

    def check_room(self, count: int) -> None:
        """Check whether a message of this length would fit now."""

    def check_answer(self, count: int, held: int = 0) -> None:
        """Check whether an answer of this length may be kept until its client has taken it."""

    def hold_answer(self, count: int) -> None:
        """Account for an answer that is not written yet."""

    def release(self, count: int) -> None:
        """Give back bytes that were held."""


def prefixed(parts: Answer, size: int) -> list[bytes | memoryview]:
    """A message as it travels, in as few parts as there are without copying what is large.

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
    """Puts the messages of one call together.

    Memory is allocated and accounted for as bytes arrive, not as they are announced.

    Args:
        limit: the most bytes that one may have.
        most: so many are put together before one is read; of more, the bytes are kept as they came.
        budget: accounts for the data kept beyond the first 64 KiB, until it is read.

    Attributes:
        complete: messages to be read, and whether they are packed.
        received_bytes: of the one that is coming.
    """

    __slots__ = (
        "_backlog",
        "_budget",
        "_held",
        "_kept_bytes",
        "_length",
        "_limit",
        "_message",
        "_most",
        "_packed",
        "_start",
        "complete",
        "received_bytes",
    )

    def __init__(self, limit: int, most: int, budget: Budget) -> None:
        self.complete: deque[tuple[Message, bool]] = deque()
        self.received_bytes = 0
        self._limit = limit
        self._most = most
        self._budget = budget
        self._start = b""  # of a prefix
        self._message: memoryview | None = None  # as much room as there is for it yet
        self._length = 0  # of the message
        self._packed = False
        self._kept_bytes = 0  # of messages, in all
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
        else:
            at = self._parse(data)
            if at < len(data):
                self._backlog += data[at:]
        if self._kept_bytes + len(self._backlog) > SMALL_BYTES:
            self._account()

    def _account(self) -> None:
        """Hold the bytes kept beyond the first 64 KiB, and no more."""
        over = max(0, self._kept_bytes + len(self._backlog) - SMALL_BYTES)
        if over > self._held:
            self._budget.hold(over - self._held, SMALL_BYTES + self._held)
        elif over < self._held:
            self._budget.release(self._held - over)
        self._held = over

    def _parse(self, data: bytes | bytearray) -> int:
        """Read messages until there are enough; returns how many bytes were needed."""
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
            if self._start or end - at < _PREFIX.size:
                missing = _PREFIX.size - len(self._start)
                self._start += data[at : at + missing]
                at += missing
                if len(self._start) == _PREFIX.size:
                    packed, length = _PREFIX.unpack(self._start)
                    self._begin(packed, length, end - at)
                    self._start = b""
                continue
            packed, length = _PREFIX.unpack_from(data, at)
            at += _PREFIX.size
            if packed <= 1 and length <= min(self._limit, SMALL_BYTES, end - at):
                self.complete.append((bytes(data[at : at + length]), packed == 1))
                self._kept_bytes += length
                at += length
            else:
                self._begin(packed, length, end - at)
        return min(at, end)

    def _begin(self, packed: int, length: int, come: int) -> None:
        """Begin a message of which ``come`` bytes are here."""
        if packed > 1:
            raise RpcError(Status.INTERNAL, f"a message begins with {packed}, where 0 or 1 says whether it is packed")
        if length > self._limit:
            text = (
                f"a message of {length} bytes came, the limit is {self._limit}; send fewer items at once or raise 'grpc_max_message_bytes'"
            )
            raise RpcError(Status.RESOURCE_EXHAUSTED, text)
        if length > SMALL_BYTES:
            self._budget.check_room(length)
        self._length, self._packed, self.received_bytes = length, packed == 1, 0
        self._message = _room_for(length, come)
        self._advance(0)

    def room(self) -> memoryview | None:
        """Return the buffer for the next part of a message."""
        return self._message[self.received_bytes :] if self._message is not None else None

    def filled(self, count: int) -> None:
        """Account for ``count`` bytes written to the buffer that :meth:`room` returned.

        Raises:
            HubError: there is not enough room for more now.
        """
        self._advance(count)
        if self._kept_bytes > SMALL_BYTES:
            self._account()

    def _advance(self, count: int) -> None:
        """Advance by ``count`` bytes that are in place in a message."""
        self.received_bytes += count
        self._kept_bytes += count
        message = self._message
        if message is None or self.received_bytes < len(message):
            return
        if self.received_bytes == self._length:
            self.complete.append((message, self._packed))
            self._message = None
        else:
            self._message = _room_for(self._length, self.received_bytes)
            self._message[: self.received_bytes] = message

    def next(self) -> tuple[Message, bool]:
        """Take the first of the messages that are complete, and go on with what has been kept.

        Raises:
            RpcError: that is no message, or one that is too long.
            HubError: there is no room for it now.
        """
        message = self.complete.popleft()
        self._kept_bytes -= len(message[0])
        if self._backlog:
            del self._backlog[: self._parse(self._backlog)]
        if self._held:
            self._account()
        return message

    def close(self) -> None:
        """Keep nothing."""
        self._message, self._start = None, b""
        self.complete.clear()
        self._backlog.clear()
        self._kept_bytes = 0
        if self._held:
            self._account()


def _room_for(length: int, come: int) -> memoryview:
    """Memory for a message, or for a first part of it.

    Args:
        length: the message's.
        come: how many bytes of it are here.
    """
    return np.empty(min(length, max(SMALL_BYTES, come * _GROWTH)), np.uint8).data
