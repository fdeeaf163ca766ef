"""Transport of the protocol inside a TLS connection."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Iterable
from typing import Any

log = logging.getLogger("hubserve")

#: bytes encrypted at once: 16 records, so that a large response is not copied as a whole
_CHUNK_BYTES = 256 << 10
_READ_BYTES = 64 << 10


class TlsTransport(asyncio.Transport):
    """Transport that encrypts what a protocol writes, and passes on to it what was received.

    What is encrypted is given to the transport below at once: its buffer is the only one, so that its limits and its pauses hold as for a
    connection without TLS.

    Args:
        raw: the transport below.
        secured: TLS's state, after the handshake.
        incoming: received and still encrypted bytes.
        outgoing: encrypted bytes.
        protocol: inside the connection.
    """

    def __init__(self, raw: Any, secured: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, protocol: Any) -> None:
        super().__init__()
        self._raw = raw
        self._ssl: Any = secured
        self._incoming, self._outgoing = incoming, outgoing
        self._loop = asyncio.get_running_loop()
        self._reading_paused = False  # by the protocol
        self._raw_paused = False
        self._closing = False
        self._write_ended = False
        self._read_ended = False
        self.set_protocol(protocol)
        # most responses are small, and go this way: no method of this class for them
        self._encrypt, self._take, self._raw_write = secured.write, outgoing.read, raw.write
        self._decrypt: Any = secured.read  # returns a number if it is given a buffer

    # --- receiving ---

    def decrypt(self) -> None:
        """Pass on what was received, unless the protocol has paused."""
        try:
            may_have_more = True
            while may_have_more and not (self._reading_paused or self._closing or self._read_ended):
                may_have_more = self._fill_buffer() if self._is_buffered else self._read()
        except ssl.SSLWantReadError:  # the rest of a record is missing
            pass
        except ssl.SSLZeroReturnError:
            self._end()
        except ssl.SSLError as error:
            self._break(error)
        if self._outgoing.pending:  # such as the answer to an update of keys
            self._raw_write(self._take())

    def _read(self) -> bool:
        """Decrypt a record; return True if there may be more."""
        data = self._decrypt(_READ_BYTES)
        if not data:
            raise ssl.SSLZeroReturnError
        self._protocol.data_received(data)
        return bool(self._incoming.pending or self._ssl.pending())

    def _fill_buffer(self) -> bool:
        """Decrypt records into the protocol's buffer, as many as fit; return True if there may be more."""
        buffer = self._protocol.get_buffer(-1)
        size, count, may_have_more = len(buffer), 0, False
        try:
            count = self._decrypt(size, buffer)
            while count < size and self._incoming.pending:
                part = self._decrypt(size - count, buffer[count:])
                if not part:  # the next call finds the end again
                    may_have_more = True
                    break
                count += part
        except ssl.SSLError:
            if not count:
                raise
            self._protocol.buffer_updated(count)
            raise
        if not count:
            raise ssl.SSLZeroReturnError
        self._protocol.buffer_updated(count)
        return may_have_more or count == size

    def _end(self) -> None:
        """Handle that the client will send no more."""
        if not self._read_ended and not self._closing:
            self._read_ended = True
            if not self._protocol.eof_received():
                self.close()

    def _break(self, error: ssl.SSLError) -> None:
        if self._write_ended:  # what still comes is discarded
            self._incoming.read()
            return
        log.debug("a TLS connection broke: %s", error)
        self.abort()

    def raw_ended(self) -> bool:
        """Handle that the connection below has ended; return True if it stays open for what the client is still sent."""
        self._end()
        return not self._closing

    def pause_reading(self) -> None:
        """Pass on no more received bytes."""
        self._reading_paused = True
        if not self._raw_paused:
            self._raw_paused = True
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Pass on received bytes again, in the next turn of the loop."""
        if self._reading_paused:
            self._reading_paused = False
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if not self._raw.is_closing():
            self.decrypt()
            if self._raw_paused and not self._reading_paused:
                self._raw_paused = False
                self._raw.resume_reading()

    def is_reading(self) -> bool:
        """Return True if received bytes are passed on."""
        return not self._reading_paused and not self.is_closing()

    # --- sending ---

    def write(self, data: Any) -> None:
        """Send bytes."""
        if self._write_ended:
            return
        try:
            if 0 < len(data) <= _CHUNK_BYTES:
                sent = self._encrypt(data)
                self._raw_write(self._take())
                if sent == len(data):
                    return
                data = memoryview(data)[sent:]
            self._write_parts((data,))
        except ssl.SSLError as error:
            self._break(error)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Send several parts of bytes."""
        if self._write_ended:
            return
        try:
            self._write_parts(list_of_data)
        except ssl.SSLError as error:
            self._break(error)

    def _write_parts(self, parts: Iterable[Any]) -> None:
        for part in parts:
            left = memoryview(part).cast("B")
            while left:
                left = left[self._encrypt(left[:_CHUNK_BYTES]) :]
                if self._outgoing.pending >= _CHUNK_BYTES:
                    self._raw_write(self._take())
        if self._outgoing.pending:
            self._raw_write(self._take())

    def can_write_eof(self) -> bool:
        """Return True: TLS has an end of each direction."""
        return True

    def write_eof(self) -> None:
        """Send that nothing more follows; what the client still sends is received."""
        if not self._write_ended:
            self._notify_close()
            if not self._raw.is_closing():
                self._raw.write_eof()

    def _notify_close(self) -> None:
        self._write_ended = True
        with contextlib.suppress(ssl.SSLError):  # it also looks for the client's own, which has not come yet
            self._ssl.unwrap()
        if self._outgoing.pending and not self._raw.is_closing():
            self._raw_write(self._take())

    def get_write_buffer_size(self) -> int:
        """Return the number of encrypted bytes that the kernel has not accepted yet."""
        return int(self._raw.get_write_buffer_size())

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and the high limit of the bytes that wait."""
        low, high = self._raw.get_write_buffer_limits()
        return low, high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the limits of the bytes that wait."""
        self._raw.set_write_buffer_limits(high, low)

    # --- the end ---

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle that the connection is closed."""
        self._closing = self._write_ended = True
        self._protocol.connection_lost(exc)

    def is_closing(self) -> bool:
        """Return True if the connection is closing or closed."""
        return self._closing or bool(self._raw.is_closing())

    def close(self) -> None:
        """Close once what was written is sent."""
        if not self._closing:
            self._closing = True
            if not self._write_ended:
                self._notify_close()
            self._raw.close()

    def abort(self) -> None:
        """Close at once."""
        self._closing = self._write_ended = True
        self._raw.abort()

    # --- state ---

    def get_protocol(self) -> Any:
        """Return the protocol inside the connection."""
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        """Let another protocol receive what follows."""
        self._protocol = protocol
        self._is_buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return ``ssl_object``, ``sslcontext``, ``peercert`` or ``cipher`` of TLS, or what the transport below knows."""
        if name == "ssl_object":
            return self._ssl
        if name == "sslcontext":
            return self._ssl.context
        if name == "peercert":
            return self._ssl.getpeercert()
        if name == "cipher":
            return self._ssl.cipher()
        return self._raw.get_extra_info(name, default)
