"""Decode chunked bodies (RFC 9112, 7.1) as they arrive."""

import re
from enum import Enum, auto

from hubserve.net.http1.head_parser import FIELD_LINE, BadRequest

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_LINE_END = b"\r\n"
#: the size line of a chunk is seldom longer
_USUAL_LINE_BYTES = 20
#: bytes of one body that longer lines (extensions) and trailers may have in addition
_MAX_EXTRA_BYTES = 16 << 10


class _Next(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    NOTHING = auto()


class ChunkedDecoder:
    """Decoder of one body. Extensions and trailers are ignored, and limited."""

    __slots__ = ("_extra_bytes", "_left_bytes", "_line", "_next")

    def __init__(self) -> None:
        self._next = _Next.SIZE
        self._left_bytes = 0  # of a chunk
        self._line = b""  # the start of a line
        self._extra_bytes = 0

    @property
    def is_complete(self) -> bool:
        """Return True if the end of the body has been received."""
        return self._next is _Next.NOTHING

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """Decode the next received bytes.

        Returns:
            The part of the body in them; and the bytes after the body.
        Raises:
            BadRequest: the chunked body is malformed.
        """
        if self._line:
            data, self._line = self._line + data, b""
        parts, at, end = [], 0, len(data)
        while at < end and self._next is not _Next.NOTHING:
            if self._next is _Next.DATA:
                part = data[at : at + self._left_bytes]
                parts.append(part)
                at += len(part)
                self._left_bytes -= len(part)
                if not self._left_bytes:
                    self._next = _Next.DATA_END
                continue
            line_end = data.find(b"\n", at) + 1
            line = data[at : line_end or end]
            if self._next is not _Next.DATA_END:
                self._limit(len(line))
            if not line_end:
                self._keep(line)
                break
            self._decode_line(line)
            at = line_end
        return parts[0] if len(parts) == 1 else b"".join(parts), data[at:] if self.is_complete else b""

    def _limit(self, line_bytes: int) -> None:
        if self._extra_bytes + line_bytes > _MAX_EXTRA_BYTES + _USUAL_LINE_BYTES:
            raise BadRequest(400, f"the chunks' extensions and trailers exceed {_MAX_EXTRA_BYTES} bytes; send fewer")

    def _keep(self, line: bytes) -> None:
        """Keep a line whose end has not been received; the end of a chunk is checked without it."""
        if self._next is _Next.DATA_END and line != b"\r":
            raise _malformed()
        self._line = line

    def _decode_line(self, line: bytes) -> None:
        if self._next is _Next.SIZE:
            size = _SIZE_LINE.fullmatch(line)
            if size is None:
                raise _malformed()
            self._extra_bytes += max(0, len(line) - _USUAL_LINE_BYTES)
            self._left_bytes = int(size[1], 16)
            self._next = _Next.DATA if self._left_bytes else _Next.TRAILER
        elif self._next is _Next.DATA_END:
            if line != _LINE_END:
                raise _malformed()
            self._next = _Next.SIZE
        elif line == _LINE_END:
            self._next = _Next.NOTHING
        else:
            if not line.endswith(_LINE_END) or not FIELD_LINE.fullmatch(line, 0, len(line) - len(_LINE_END)):
                raise BadRequest(400, "malformed trailer; send 'Name: value', with CR LF at its end")
            self._extra_bytes += len(line)


def _malformed() -> BadRequest:
    return BadRequest(400, "malformed chunk; send its size in hexadecimal digits, CR LF, the bytes, CR LF")
