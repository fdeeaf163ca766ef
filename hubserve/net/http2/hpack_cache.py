"""Decode header blocks: HPACK (RFC 7541), by the library of that name, with a cache that spares it most of its work."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

import hpack

from hubserve.bounded_cache import BoundedCache
from hubserve.net.http2.frames import ConnectionFault, ErrorCode
from hubserve.net.http2.header_rules import Field
from hubserve.net.http2.rate_limit import TokenBucket

T = TypeVar("T")

#: the most fields of a header list, table size updates included
MAX_FIELDS = 128
#: bytes that each refer to one field of the tables
_REFERENCES = bytes(range(0x81, 0xFF))
_CACHED = 64
#: of all header lists that are cached for one connection
_CACHED_BYTES = 64 << 10
_MAX_LITERAL = 126
#: up to this size, decoding time is not counted: it takes less time than answering a request
_USUAL_FIELDS = 32
_USUAL_BYTES = 512
#: decoding time that is not counted beyond that size: what usual headers take
_FREE_S = 50e-6
_LONGEST_INTEGER = 10


class HeaderDecoder(Generic[T]):
    """Decoder of the header blocks of one connection, in their order.

    A client that repeats a request sends the same block: references to the tables, and fields that it keeps out of them, such as a key.
    What such a block means changes only with a block that changes a table; until one arrives, it is looked up instead of being decoded.

    Args:
        make: makes the result from the fields of a block.
        max_bytes: the most bytes of a block, and of the list that it is decoded to (RFC 9113, 6.5.2: 32 more for each field).
        budget: seconds of processor time for decoding that takes longer than usual; None for no limit.
    """

    def __init__(self, make: Callable[[list[Field]], T], max_bytes: int, budget: TokenBucket | None = None) -> None:
        self._make = make
        self._max_bytes = max_bytes
        self._budget = budget
        self._decoder = hpack.Decoder(max_header_list_size=max_bytes)
        self._cache: BoundedCache[bytes, T] = BoundedCache(_CACHED)
        self._cached_bytes = 0

    def read(self, block: bytes) -> T:
        """Return the result of a block, decoded or cached.

        Raises:
            ConnectionFault: it is too large or too costly, or cannot be decoded; then no later one can be, either.
        """
        cached = self._cache.get(block)
        if cached is not None:
            return cached
        return self._read_new(block) if self._is_usual(block) or self._budget is None else self._read_counted(block, self._budget)

    def _is_usual(self, block: bytes) -> bool:
        """Return True if decoding a block need not be counted, as far as can be seen without decoding it."""
        size = len(block)
        if size <= MAX_FIELDS:  # each field has a byte at least
            return True
        count = MAX_FIELDS + 1 if size > self._max_bytes else count_fields(block, MAX_FIELDS)
        if count > MAX_FIELDS:
            raise self._too_large()
        return count <= _USUAL_FIELDS and size <= _USUAL_BYTES

    def _read_counted(self, block: bytes, budget: TokenBucket) -> T:
        """Read a block, and charge its decoding time to the client."""
        if not budget.consume(0):
            raise _too_costly()
        begin = time.thread_time()
        try:
            return self._read_new(block)
        finally:
            if not budget.consume(max(0.0, time.thread_time() - begin - _FREE_S)):
                raise _too_costly()

    def _read_new(self, block: bytes) -> T:
        fields = self._decode(block)
        result = self._make(fields)
        if not block.translate(None, _REFERENCES) or (len(block) <= _USUAL_BYTES and keeps_tables(block)):
            self._store(block, result, len(block) + sum(len(name) + len(value) for name, value in fields))
        else:
            self._clear()
        return result

    def _decode(self, block: bytes) -> list[Field]:
        try:
            return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except hpack.OversizedHeaderListError:
            raise self._too_large() from None
        except hpack.HPACKError:  # its text contains memory addresses
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "a header block cannot be decoded (RFC 7541)") from None

    def _store(self, block: bytes, result: T, size: int) -> None:
        if self._cached_bytes + size > _CACHED_BYTES:
            self._clear()
        self._cached_bytes += size
        self._cache[block] = result

    def _clear(self) -> None:
        self._cache.clear()
        self._cached_bytes = 0

    def _too_large(self) -> ConnectionFault:
        text = f"a request's headers exceed the limit of {MAX_FIELDS} fields and {self._max_bytes} bytes; send fewer or shorter ones"
        return ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, text)


def _too_costly() -> ConnectionFault:
    return ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "the headers of this client take too long to decode; send fewer or shorter ones")


def count_fields(block: bytes, most: int) -> int:
    """Count the fields and table size updates of a block without decoding them, which would take ten times as long.

    Args:
        block: the block; of a malformed one, the fields before the fault are counted.
        most: counting stops beyond this number.
    """
    at, count, end = 0, 0, len(block)
    while at < end and count <= most:
        count += 1
        first = block[at]
        if first & 0x80:
            _, at = _integer(block, at, 0x7F)
        elif first & 0xE0 == 0x20:
            _, at = _integer(block, at, 0x1F)
        else:
            index, at = _integer(block, at, 0x3F if first & 0x40 else 0x0F)
            for _ in range(1 if index else 2):
                length, at = _integer(block, at, 0x7F)
                at += length
    return count


def keeps_tables(block: bytes) -> bool:
    """Return True if a block surely leaves the tables as they are.

    Args:
        block: that has been decoded; False for one with more fields than usual, or with integers of an unusual length.
    """
    at, fields, end = 0, 0, len(block)
    try:
        while at < end:
            first = block[at]
            at += 1
            fields += 1
            if first & 0x80:  # a reference to a field
                if first == 0xFF:
                    return False
                continue
            if first & 0x60:  # a field to be added to the table, or a new size of it
                return False
            name = first & 0x0F  # a field that goes into no table; its name may be in one
            if name == 0x0F:
                if block[at] & 0x80:
                    return False
                at += 1
            for _ in range(1 if name else 2):
                length = block[at] & 0x7F
                at += 1
                if length == 0x7F:
                    length += block[at] & 0x7F
                    if block[at] & 0x80:
                        at += 1
                        length += block[at] << 7
                        if block[at] & 0x80:
                            return False
                    at += 1
                at += length
    except IndexError:
        return False
    return at == end and fields <= _USUAL_FIELDS


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """Return an integer with a prefix, and the position after it; the block's end if there is no integer."""
    if at >= len(block):
        return 0, at
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift, byte in enumerate(block[at : at + _LONGEST_INTEGER]):
        value += (byte & 127) << 7 * shift
        if byte < 128:
            return value, at + shift + 1
    return 0, len(block)


def literal(name: bytes, value: bytes) -> bytes:
    """Encode a field that goes into no table; for names of up to 126 bytes.

    Args:
        name: in lower case.
        value: its value.
    """
    return b"\0" + bytes([len(name)]) + name + _length(len(value)) + value


def status(code: int) -> bytes:
    """Encode the field ``:status``, which starts every response."""
    return b"\x88" if code == 200 else b"\x08\x03%d" % code


def _length(count: int) -> bytes:
    """Encode a string's length as an integer with a prefix of seven bits."""
    if count <= _MAX_LITERAL:
        return bytes([count])
    rest, coded = count - 127, bytearray(b"\x7f")
    while rest > 127:
        coded.append(rest & 127 | 128)
        rest >>= 7
    coded.append(rest)
    return bytes(coded)
