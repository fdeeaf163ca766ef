"""Content codings of bodies: gzip and deflate."""

import asyncio
import gzip
import zlib
from typing import Any

from hubserve.errors import InvalidInput, TooLarge
from hubserve.protocols.admission import Ticket
from hubserve.protocols.v2.errors import NotOffered

#: so much is unpacked before others get their turn
_STEP_BYTES = 1 << 20
#: small answers are packed where they are: a thread would cost more
_SMALL_BYTES = 16 << 10
_LEVEL = 1
_EITHER = 32 + zlib.MAX_WBITS  # zlib's word for: gzip or zlib, as the data say


async def decode_body(body: memoryview, coding: str, limit: int, ticket: Ticket) -> memoryview:
    """A body without its content coding.

    Args:
        body: as it came.
        coding: the header ``Content-Encoding``.
        limit: the most bytes that it may have.
        ticket: accounts for them.
    Raises:
        NotOffered: the coding is not known.
        InvalidInput: the body is not of this coding.
        TooLarge: there are more bytes than ``limit``.
        Unavailable: the server has no memory for them now.
    """
    name = coding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in ("gzip", "deflate", "x-gzip"):
        raise NotOffered(f"the content coding '{coding[:40]}' is not known here; send the body plain, or as gzip or deflate")
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS if name == "deflate" and not _is_zlib(body) else _EITHER)
    parts, size = [], 0
    rest: Any = body
    while not unpacker.eof:
        try:
            part = unpacker.decompress(rest, _STEP_BYTES)
        except zlib.error as error:
            raise InvalidInput(f"the body is not {name}: {error}") from None
        rest = unpacker.unconsumed_tail
        if not part and not rest and not unpacker.eof:
            raise InvalidInput(f"the body ends before its {name} data do")
        size += len(part)
        if size > limit:
            raise TooLarge(
                f"the request body is over this server's limit of {limit} bytes once it is unpacked; send fewer items at once or raise "
                "'max_body_bytes'"
            )
        ticket.reserve(len(body) + size)
        parts.append(part)
        if len(parts) > 1:
            await asyncio.sleep(0)
    if unpacker.unused_data:
        raise InvalidInput(f"the body goes on behind its {name} data")
    return memoryview(parts[0] if len(parts) == 1 else b"".join(parts))


def _is_zlib(body: memoryview) -> bool:
    """Whether it begins as zlib's form does, which HTTP calls deflate; some senders leave it out."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0


def wanted_coding(accepted: str) -> str:
    """The coding of an answer; "" for none.

    Packing takes longer than sending on any but slow networks, so it is done only for clients that name one coding and nothing else, as
    Triton's do where they are told to; libraries' usual lists are not taken for a wish.
    """
    name = accepted.strip().lower()
    return name if name in ("gzip", "deflate") else ""


async def encode_body(parts: list[Any], coding: str) -> bytes:
    """A body in a content coding."""
    whole = b"".join(parts)
    if len(whole) <= _SMALL_BYTES:
        return _encode(whole, coding)
    return await asyncio.to_thread(_encode, whole, coding)


def _encode(whole: bytes, coding: str) -> bytes:
    return gzip.compress(whole, _LEVEL) if coding == "gzip" else zlib.compress(whole, _LEVEL)
