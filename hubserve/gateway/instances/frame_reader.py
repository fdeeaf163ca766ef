"""Read frames from an instance's socket: small ones by way of a scratch buffer, a large one straight into its own buffer.

An instance runs a module's code, which may write anything to its descriptors. Every field is checked before it is used, and memory is
touched only as bytes arrive, whatever length a frame announces.
"""

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from hubserve.wire import frames
from hubserve.wire.arena import Arena

log = logging.getLogger("hubserve")

_SCRATCH_BYTES = 64 << 10


class FrameProtocol(asyncio.BufferedProtocol):
    """The receiving end of a socket that carries frames.

    Args:
        arena: holds the buffers that are not sent; None for none.
        on_broken: called with the reason when the received bytes are not an allowed frame, after the socket was closed.

    Attributes:
        heard_at: when something was last received, on the clock of ``time.monotonic``.
        log_fields: by which lines of the log name the instance.
    """

    def __init__(self, arena: Arena | None, on_broken: Callable[[str], None]) -> None:
        self.heard_at = time.monotonic()
        self.log_fields: dict[str, str] = {}
        self._arena = arena
        self._on_broken = on_broken
        self._transport: asyncio.Transport | None = None
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._view = self._scratch  # receives bytes: the scratch, or the buffer of a larger frame
        self._filled = 0
        self._header: dict[str, Any] | None = None  # of a frame whose payload is incomplete
        self._is_broken = False

    @abstractmethod
    def check(self, header: dict[str, Any]) -> None:
        """Check a frame's header, before its payload is read.

        Raises:
            WireError: the frame is not allowed, or holds something that is not allowed.
        """

    @abstractmethod
    def on_frame(self, frame: frames.Frame) -> None:
        """Handle a received frame.

        Raises:
            WireError: its payload does not match its header.
        """

    @property
    def stalled_s(self) -> float:
        """Seconds for which the rest of a frame has been missing; 0 if none has begun."""
        return time.monotonic() - self.heard_at if self._filled else 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]  # stream sockets have stream transports

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        """Return the buffer for the next bytes."""
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Handle received bytes."""
        if self._is_broken:
            return
        self.heard_at = time.monotonic()
        self._filled += nbytes
        try:
            self._read_frames()
        except frames.WireError as error:
            self.break_off(error.message)
        except MemoryError:
            self.break_off("a frame is larger than the gateway's memory")
        except Exception:
            log.exception("an unexpected error while a frame of an instance was read", extra=self.log_fields)
            self.break_off("the gateway failed to read a frame")

    def _read_frames(self) -> None:
        while self._filled >= frames.HEAD.size and not self._is_broken:
            header_bytes, payload_bytes = frames.decode_head(self._view[: frames.HEAD.size])
            start = frames.HEAD.size + header_bytes
            if self._header is None:
                if self._filled < start:
                    self._ensure_capacity(start)
                    return
                self._header = frames.decode_header(self._view[frames.HEAD.size : start], payload_bytes, self._arena, _loads)
                self.check(self._header)
            size = start + payload_bytes
            if self._filled < size:
                self._ensure_capacity(size)
                return
            payload = self._view[start:size]
            if self._view is self._scratch:  # the next read overwrites it
                payload = memoryview(bytes(payload))
            header, self._header = self._header, None
            self._switch_buffer(self._scratch, size)
            self.on_frame(frames.split_payload(header, payload, self._arena))

    def _ensure_capacity(self, size: int) -> None:
        if size > len(self._view):
            self._switch_buffer(np.empty(size, np.uint8).data, 0)  # unlike a bytearray's, its pages are taken only as bytes come

    def _switch_buffer(self, to: memoryview, start: int) -> None:
        """Continue in another buffer, with the bytes received from ``start`` on."""
        rest = bytes(self._view[start : self._filled])
        self._view, self._filled = to, len(rest)
        self._view[: len(rest)] = rest

    def break_off(self, reason: str) -> None:
        """Stop reading, close the socket, and report the reason."""
        if self._is_broken:
            return
        self._is_broken = True
        self._view, self._filled, self._header = self._scratch, 0, None
        self.close()
        self._on_broken(reason)

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.abort()

    def write(self, pieces: list[Any]) -> None:
        """Send an encoded frame; see :func:`hubserve.wire.frames.encode`."""
        if self._transport is None:
            return
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)


def dumps(header: dict[str, Any]) -> bytes:
    """Encode a header as JSON."""
    try:
        return orjson.dumps(header)
    except TypeError:  # a lone surrogate, or a number beyond 64 bits: JSON allows both, orjson does not
        return frames.dump_header(header)


def _loads(text: memoryview) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # as above
        return frames.load_header(text)
