"""Limit how often one client may send frames that cost the server work and request nothing."""

from hubserve.net.http2.frames import ConnectionFault, ErrorCode
from hubserve.net.http2.rate_limit import Bucket
from hubserve.net.http2.send_queue import Outbox

#: frames that request no work: the burst, and the rate per second
_CONTROL_FRAMES = (20_000, 10_000.0)
#: settings cost as much as there are requests in progress
_SETTINGS_FRAMES = (1_000, 100.0)
#: requests that are taken back, by the client or, for a fault of the client's, by the server
_RESETS = (2_000, 200.0)
#: a client opens its windows as it takes answers: one WINDOW_UPDATE frame for so many bytes is explained by that, and two for each piece,
#: as gRPC's own clients open the windows of stream and connection for every small message
_BYTES_PER_WINDOW = 512
_WINDOWS_PER_PIECE = 2
_MOST_WINDOWS = 2_000


class FrameLimits:
    """Counts the frames of one connection.

    Args:
        outbox: knows how much was sent.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._control = Bucket(*_CONTROL_FRAMES)
        self._settings = Bucket(*_SETTINGS_FRAMES)
        self._resets = Bucket(*_RESETS)
        self._explained = 0  # WINDOW_UPDATE frames that came, of those that are explained

    def count_control(self) -> None:
        """Count a frame that asks for nothing.

        Raises:
            ConnectionFault: there are too many; so for the other methods.
        """
        if not self._control.take():
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that ask for nothing")

    def count_settings(self) -> None:
        """Count a SETTINGS frame."""
        self.count_control()
        if not self._settings.take():
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many settings")

    def count_reset(self) -> None:
        """Count a request that ends before its answer does."""
        if not self._resets.take():
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many requests are taken back")

    def count_window(self) -> None:
        """Count a WINDOW_UPDATE frame; those of a client that takes its answers are not bounded."""
        outbox = self._outbox
        left = outbox.data_bytes // _BYTES_PER_WINDOW + outbox.data_ends * _WINDOWS_PER_PIECE - self._explained
        if left <= 0:
            self.count_control()
            return
        self._explained += 1 + max(0, left - _MOST_WINDOWS)
