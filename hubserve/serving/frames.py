"""Reads frames from an instance's socket: small ones whole, one or more at once; a large one straight into its own buffer."""

import asyncio
from abc import abstractmethod
from typing import Any

import orjson

from hubserve.instance import wire
from hubserve.instance.arena import Arena

_SCRATCH_BYTES = 64 << 10


class FrameProtocol(asyncio.BufferedProtocol):
    """One end of a socket that frames come from.

    Args:
        arena: where buffers may lie that are not sent; None for nowhere.
    """

    def __init__(self, arena: Arena | None) -> None:
        self._arena = arena
        self._transport: asyncio.Transport | None = None
        self._scratch = bytearray(_SCRATCH_BYTES)
        self._view = memoryview(self._scratch)  # where bytes go: the scratch, or a frame that is larger
        self._filled = 0

    @abstractmethod
    def on_frame(self, frame: wire.Frame) -> None:
        """A frame came."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ready."""
        self._transport = transport  # type: ignore[assignment]  # stream sockets have stream transports

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        """Where the next bytes go."""
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Some bytes came."""
        self._filled += nbytes
        while self._filled >= wire.HEAD.size:
            header_bytes, payload_bytes = wire.decode_head(self._view[: wire.HEAD.size])
            size = wire.HEAD.size + header_bytes + payload_bytes
            if self._filled < size:
                if size > len(self._view):
                    self._move(bytearray(size), 0)
                return
            whole = self._view[wire.HEAD.size : size]
            # the scratch is written over by what comes next
            body = memoryview(bytes(whole)) if self._view.obj is self._scratch else whole
            self._move(self._scratch, size)
            self.on_frame(wire.decode_body(body, header_bytes, self._arena, _loads))

    def _move(self, to: bytearray, start: int) -> None:
        """Go on in another buffer, with what came from ``start`` on."""
        rest = bytes(self._view[start : self._filled])
        self._view, self._filled = memoryview(to), len(rest)
        self._view[: len(rest)] = rest

    def write(self, pieces: list[Any]) -> None:
        """Send what :func:`hubserve.instance.wire.encode` gave."""
        if self._transport is None:
            return
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)


def dumps(header: dict[str, Any]) -> bytes:
    """A header as JSON."""
    try:
        return orjson.dumps(header)
    except TypeError:  # half a character in a text, which JSON in general allows; or a number beyond 64 bits
        return wire.dump_header(header)


def _loads(text: memoryview) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # as above
        return wire.load_header(text)
