"""Interface between a connection and the code that receives a request's body."""

from typing import Protocol


class BodyReceiver(Protocol):
    """Receiver of the parts of a body as they arrive."""

    def feed(self, data: bytes) -> None:
        """Receive the next part."""

    def receive_buffer(self) -> memoryview | None:
        """Return the buffer that the next part is read into; None if parts are passed to :meth:`feed`."""

    def buffer_filled(self, count: int) -> None:
        """Receive the next part, ``count`` bytes that were read into :meth:`receive_buffer`."""
