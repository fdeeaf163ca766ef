"""Header fields: HPACK (RFC 7541), by the library of that name, and what spares it most of its work."""

from collections.abc import Callable
from typing import Generic, TypeVar

import hpack

from hubserve.http2.frames import ConnectionFault, ErrorCode
from hubserve.recent import Recent

Field = tuple[bytes, bytes]
T = TypeVar("T")

#: bytes that each are a reference to one field of the tables
_REFERENCES = bytes(range(0x81, 0xFF))
_REMEMBERED = 64
_MAX_LITERAL = 126


class FieldReader(Generic[T]):
    """Reads the blocks of one connection, in their order.

    A client that asks again what it asked before sends a block of references alone. What those mean changes only with a block that has
    something else in it, so that until one comes a block is looked up instead of being decoded.

    Args:
        make: what becomes of the fields of a block.
        max_bytes: what the fields of a block may have.
    """

    def __init__(self, make: Callable[[list[Field]], T], max_bytes: int) -> None:
        self._make = make
        self._decoder = hpack.Decoder(max_header_list_size=max_bytes)
        self._known: Recent[bytes, T] = Recent(_REMEMBERED)

    def read(self, block: bytes) -> T:
        """What a block says.

        Raises:
            ConnectionFault: it cannot be decoded, so that no later one can be either.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        try:
            made = self._make([(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)])
        except hpack.OversizedHeaderListError:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "the request's headers are too large") from None
        except hpack.HPACKError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"the request's headers cannot be decoded: {error}") from None
        if block.translate(None, _REFERENCES):
            self._known.clear()
        else:
            self._known[block] = made
        return made


def literal(name: bytes, value: bytes) -> bytes:
    """A field that goes into no table; for names of up to 126 bytes.

    Args:
        name: in lower case.
        value: its value.
    """
    return b"\0" + bytes([len(name)]) + name + _length(len(value)) + value


def status(code: int) -> bytes:
    """The field ``:status``, which begins every answer."""
    return b"\x88" if code == 200 else b"\x08\x03%d" % code


def _length(count: int) -> bytes:
    """A string's length as an integer with a prefix of seven bits."""
    if count <= _MAX_LITERAL:
        return bytes([count])
    rest, coded = count - 127, bytearray(b"\x7f")
    while rest > 127:
        coded.append(rest & 127 | 128)
        rest >>= 7
    coded.append(rest)
    return bytes(coded)
