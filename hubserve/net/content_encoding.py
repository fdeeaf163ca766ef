"""Decode and encode the content codings of bodies: gzip and deflate."""

import asyncio
import gzip
import zlib
from typing import Any

import numpy as np

from hubserve.errors import HubError, InvalidInput, TooLarge
from hubserve.net.admission import Admission

#: decompressed in one step: the first on the event loop, others in a thread
_STEP_BYTES = 1 << 20
#: input and output of one call of zlib
_INPUT_BYTES = 64 << 10
_OUTPUT_BYTES = 256 << 10
#: bodies up to this are compressed on the event loop, as a thread would cost more
_SMALL_BYTES = 16 << 10
_LEVEL = 1
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # zlib detects which


class UnknownEncoding(HubError):
    """The body has a content coding that the server does not decode."""

    code = "unknown_encoding"


async def decode_body(body: memoryview, coding: str, limit: int, admission: Admission) -> memoryview:
    """Return a decompressed body.

    Args:
        body: as received.
        coding: the header ``Content-Encoding``.
        limit: most bytes of the decompressed body.
        admission: accounts for them.
    Raises:
        UnknownEncoding: the coding is unknown.
        InvalidInput: the body does not have this coding.
        TooLarge: the decompressed body exceeds ``limit``.
        Unavailable: the server has no memory for it now.
    """
    name = coding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in ("gzip", "deflate", "x-gzip"):
        raise UnknownEncoding(f"the content coding '{coding[:40]}' is not known here; send the body plain, or as gzip or deflate")
    decompressor = _Decompressor(body, name, limit)
    while not decompressor.is_done:
        if decompressor.parts:
            await asyncio.to_thread(decompressor.step)
        else:
            decompressor.step()
        admission.reserve(len(body) + decompressor.size)
    if len(decompressor.parts) == 1:
        return memoryview(decompressor.parts[0])
    return await asyncio.to_thread(decompressor.joined)


class _Decompressor:
    """Stepwise decompressor of a body.

    Attributes:
        parts: the decompressed parts.
        size: bytes of all parts.
        is_done: whether the body is complete.
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
        self._zlib = zlib.decompressobj(-zlib.MAX_WBITS if name == "deflate" and not _is_zlib(body) else _GZIP_OR_ZLIB)

    def step(self) -> None:
        """Decompress about ``_STEP_BYTES`` more.

        Raises:
            InvalidInput: the body does not have this coding.
            TooLarge: it is over the limit.
        """
        start = self.size
        while self.size - start < _STEP_BYTES and not self.is_done:
            if not self._rest:
                self._rest = self._body[self._at : self._at + _INPUT_BYTES]
                self._at += len(self._rest)
            try:
                part = self._zlib.decompress(self._rest, _OUTPUT_BYTES)
            except zlib.error as error:
                raise InvalidInput(f"the body is not {self._name}: {error}") from None
            self._rest = self._zlib.unconsumed_tail
            self._add(part)

    def _add(self, part: bytes) -> None:
        left = len(self._body) - self._at
        self.is_done = self._zlib.eof
        if self.is_done and (self._zlib.unused_data or left):
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
        """Return the complete body; called in a thread, other threads run between two parts."""
        whole = np.empty(self.size, np.uint8).data  # unlike a bytearray, not zeroed first
        at = 0
        for part in self.parts:
            whole[at : at + len(part)] = part
            at += len(part)
        return whole


def _is_zlib(body: memoryview) -> bool:
    """Return True if a body begins with zlib's header, which HTTP's deflate requires and some senders omit."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0


def wanted_coding(accepted: str) -> str:
    """Return the coding of a response from the header ``Accept-Encoding``; "" for none.

    Compressing takes longer than sending except on slow networks, so it is done only for clients that name exactly one coding, as
    Triton's do on request; the lists that HTTP libraries send by default do not count.
    """
    name = accepted.strip().lower()
    return name if name in ("gzip", "deflate") else ""


async def encode_body(parts: list[Any], coding: str) -> bytes:
    """Return a compressed body."""
    whole = b"".join(parts)
    if len(whole) <= _SMALL_BYTES:
        return _encode(whole, coding)
    return await asyncio.to_thread(_encode, whole, coding)


def _encode(whole: bytes, coding: str) -> bytes:
    return gzip.compress(whole, _LEVEL) if coding == "gzip" else zlib.compress(whole, _LEVEL)
