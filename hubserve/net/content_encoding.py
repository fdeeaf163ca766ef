"""Content codings of bodies: gzip and deflate."""

import asyncio
import gzip
import zlib
from typing import Any

import numpy as np

from hubserve.errors import HubError, InvalidInput, TooLarge
from hubserve.net.admission import Admission

#: how much is decompressed at once: the first step directly, the others in a thread
_STEP_BYTES = 1 << 20
#: so much is given to zlib and taken from it at once
_PACKED_BYTES = 64 << 10
_PART_BYTES = 256 << 10
#: small answers are packed where they are: a thread would cost more
_SMALL_BYTES = 16 << 10
_LEVEL = 1
_EITHER = 32 + zlib.MAX_WBITS  # zlib's word for: gzip or zlib, as the data say


class UnknownEncoding(HubError):
    """The body has a content coding that the server does not decode."""

    code = "unknown_encoding"


async def decode_body(body: memoryview, coding: str, limit: int, ticket: Admission) -> memoryview:
    """A body without its content coding.

    Args:
        body: as it came.
        coding: the header ``Content-Encoding``.
        limit: the most bytes that it may have.
        ticket: accounts for them.
    Raises:
        UnknownEncoding: the coding is not known.
        InvalidInput: the body is not of this coding.
        TooLarge: there are more bytes than ``limit``.
        Unavailable: the server has no memory for them now.
    """
    name = coding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in ("gzip", "deflate", "x-gzip"):
        raise UnknownEncoding(f"the content coding '{coding[:40]}' is not known here; send the body plain, or as gzip or deflate")
    unpacker = _Unpacker(body, name, limit)
    while not unpacker.is_done:
        if unpacker.parts:
            await asyncio.to_thread(unpacker.step)
        else:
            unpacker.step()
        ticket.reserve(len(body) + unpacker.size)
    if len(unpacker.parts) == 1:
        return memoryview(unpacker.parts[0])
    return await asyncio.to_thread(unpacker.joined)


class _Unpacker:
    """Unpacks a body step by step.

    Attributes:
        parts: the decompressed parts.
        size: how many bytes that are.
        is_done: whether it is all.
    """

    def __init__(self, body: memoryview, name: str, limit: int) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.is_done = False
        self._name = name
        self._limit = limit
        self._body = body
        self._at = 0
        self._rest: Any = b""
        self._unpack = zlib.decompressobj(-zlib.MAX_WBITS if name == "deflate" and not _is_zlib(body) else _EITHER)

    def step(self) -> None:
        """Unpack some more.

        Raises:
            InvalidInput: the body is not of this coding.
            TooLarge: it is over the limit.
        """
        start = self.size
        while self.size - start < _STEP_BYTES and not self.is_done:
            if not self._rest:
                self._rest = self._body[self._at : self._at + _PACKED_BYTES]
                self._at += len(self._rest)
            try:
                part = self._unpack.decompress(self._rest, _PART_BYTES)
            except zlib.error as error:
                raise InvalidInput(f"the body is not {self._name}: {error}") from None
            self._rest = self._unpack.unconsumed_tail
            self._keep(part)

    def _keep(self, part: bytes) -> None:
        left = len(self._body) - self._at
        self.is_done = self._unpack.eof
        if self.is_done and (self._unpack.unused_data or left):
            raise InvalidInput(f"the body goes on behind its {self._name} data")
        if not part and not self._rest and not left and not self.is_done:
            raise InvalidInput(f"the body ends before its {self._name} data do")
        self.size += len(part)
        if self.size > self._limit:
            raise TooLarge(
                f"the request body is over this server's limit of {self._limit} bytes once it is unpacked; "
                "send fewer items at once or raise 'max_body_bytes'"
            )
        self.parts.append(part)

    def joined(self) -> memoryview:
        """Return the whole body; other tasks may run between two parts."""
        whole = np.empty(self.size, np.uint8).data  # unlike a bytearray, not zeroed first
        at = 0
        for part in self.parts:
            whole[at : at + len(part)] = part
            at += len(part)
        return whole


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
