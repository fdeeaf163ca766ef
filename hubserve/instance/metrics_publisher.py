"""Publish the metrics of an instance's module: when the gateway asks, and once a second while they change."""

import threading
import time
from typing import Any, Callable, Dict, List, Optional

#: values that changed this long before an instance ends may be lost
_EVERY_S = 1.0
Changes = Callable[[], List[Dict[str, Any]]]


class MetricsPublisher:
    """Sender of changed metrics.

    Args:
        send: sends a header to the gateway, from any thread.
    """

    def __init__(self, send: Callable[[Dict[str, Any]], None]) -> None:
        self._send = send
        self._lock = threading.Lock()  # values of a later frame must not be older
        self._changes: Optional[Changes] = None

    def follow(self, changes: Changes) -> None:
        """Begin to publish.

        Args:
            changes: returns the families with the series that have changed since its last call.
        """
        with self._lock:
            if self._changes is None:
                self._changes = changes
                threading.Thread(target=self._run, name="hubserve-metrics", daemon=True).start()

    def answer(self) -> None:
        """Send what has changed, even if that is nothing."""
        self._publish(even_nothing=True)

    def reset(self) -> None:
        """Publish nothing in a forked process, and replace the lock, which is never released there."""
        self._lock = threading.Lock()
        self._changes = _nothing

    def _run(self) -> None:
        while True:
            time.sleep(_EVERY_S)
            self._publish(even_nothing=False)

    def _publish(self, even_nothing: bool) -> None:
        with self._lock:
            families = self._changes() if self._changes else []
            if families or even_nothing:
                self._send({"op": "metrics", "families": families})


def _nothing() -> List[Dict[str, Any]]:
    return []
