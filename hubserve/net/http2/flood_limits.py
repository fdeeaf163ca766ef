"""Limit how often one client may send frames that cost the server work and request nothing."""

from hubserve.net.http2.frames import ConnectionFault, ErrorCode
from hubserve.net.http2.rate_limit import TokenBucket
from hubserve.net.http2.send_queue import SendQueue

#: frames that request no work: the burst, and the rate per second
_CONTROL_FRAMES = (20_000, 10_000.0)
#: applying settings takes time proportional to the number of requests in progress
_SETTINGS_FRAMES = (1_000, 100.0)
#: requests that are cancelled by the client, or by the server for a fault of the client
_RESETS = (2_000, 200.0)
#: a client opens its windows as it reads responses: one WINDOW_UPDATE for this many bytes is expected, and two for each message, as
#: gRPC's own clients open the windows of stream and connection for every small message
_BYTES_PER_WINDOW_UPDATE = 512
_WINDOW_UPDATES_PER_MESSAGE = 2
_MOST_WINDOW_UPDATES = 2_000


class FloodLimits:
    """Policy against floods: limits on the frames of one connection.

    Args:
        send_queue: counts the data sent, which explains WINDOW_UPDATE frames.
    """

    def __init__(self, send_queue: SendQueue) -> None:
        self._send_queue = send_queue
        self._control = TokenBucket(*_CONTROL_FRAMES)
        self._settings = TokenBucket(*_SETTINGS_FRAMES)
        self._resets = TokenBucket(*_RESETS)
        self._expected_updates = 0  # WINDOW_UPDATE frames received so far that the data sent explains

    def count_control(self) -> None:
        """Count a frame that requests nothing.

        Raises:
            ConnectionFault: the client exceeds the limit; so for the other methods.
        """
        if not self._control.consume():
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that request nothing")

    def count_settings(self) -> None:
        """Count a SETTINGS frame."""
        self.count_control()
        if not self._settings.consume():
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many SETTINGS frames")

    def count_reset(self) -> None:
        """Count a request that ends before its response does."""
        if not self._resets.consume():
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many cancelled requests")

    def count_window_update(self) -> None:
        """Count a WINDOW_UPDATE frame; those that the data sent explains are free."""
        sent = self._send_queue
        left = sent.data_bytes // _BYTES_PER_WINDOW_UPDATE + sent.data_ends * _WINDOW_UPDATES_PER_MESSAGE - self._expected_updates
        if left <= 0:
            self.count_control()
            return
        self._expected_updates += 1 + max(0, left - _MOST_WINDOW_UPDATES)
