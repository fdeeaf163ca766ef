"""Send frames from any thread, even one that must not wait."""

import socket
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, Sequence

from hubserve.wire import frames


class FrameSender:
    """Sender of frames for several threads.

    Args:
        sock: connected to the gateway.
        on_error: called when the socket cannot be written to.
    """

    def __init__(self, sock: socket.socket, on_error: Callable[[], None]) -> None:
        self._sock = sock
        self._on_error = on_error
        self._lock = threading.Lock()
        self._deferred: Deque[Dict[str, Any]] = deque()

    def send(self, header: Dict[str, Any], buffers: Sequence[Any]) -> None:
        """Send a frame, waiting for other threads and for the socket."""
        with self._lock:
            self._write(header, buffers)
        self._send_deferred()

    def defer(self, header: Dict[str, Any]) -> None:
        """Send a frame without waiting for other threads: if one is sending, it sends this frame, too."""
        self._deferred.append(header)
        self._send_deferred()

    def reset(self) -> None:
        """Replace the lock in a forked process, where a thread that held it will never release it, and drop deferred frames."""
        self._lock = threading.Lock()
        self._deferred.clear()

    def _send_deferred(self) -> None:
        # The thread that holds the lock checks again after it has released it, so that no frame is left behind.
        while self._deferred and self._lock.acquire(blocking=False):
            try:
                while self._deferred:
                    self._write(self._deferred.popleft(), ())
            finally:
                self._lock.release()

    def _write(self, header: Dict[str, Any], buffers: Sequence[Any]) -> None:
        try:
            frames.send(self._sock, header, buffers)
        except OSError:
            self._on_error()
