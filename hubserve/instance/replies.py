"""The replies to one call that a module makes of another one."""

import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Protocol, Tuple

import numpy as np

from hubserve.errors import from_wire
from hubserve.kinds.raw_requests import RawResponse, Replies
from hubserve.wire import frames

#: op, key, final, buffers: a header with no more than these carries no response
_EMPTY_FIELDS = 4


class Caller(Protocol):
    """The side channel, as the replies to a call see it."""

    def consumed(self, key: int) -> None:
        """Report that one reply was consumed."""

    def drop(self, key: int) -> None:
        """Give up a call that may not be answered yet."""

    def over(self, key: int) -> None:
        """Forget a call that has been answered."""


class CallReplies(Replies):
    """The replies to one call, put in by the reading thread.

    Args:
        caller: made the call.
        key: the call's.
    """

    def __init__(self, caller: Caller, key: int) -> None:
        self._caller = caller
        self._key = key
        self._changed = threading.Condition()
        self._waiting: Deque[Tuple[Dict[str, Any], List[memoryview]]] = deque()
        self._final = False
        self._callbacks: List[Callable[[], None]] = []

    def reset_lock(self) -> None:
        """Replace the lock in a forked process, where a thread that held it will never release it."""
        self._changed = threading.Condition()

    def put(self, header: Dict[str, Any], buffers: List[memoryview]) -> None:
        """Add a reply; those after the final one are ignored."""
        with self._changed:
            if self._final:
                return
            self._final = bool(header["final"])
            if len(header) > _EMPTY_FIELDS or "error" in header:
                self._waiting.append((header, buffers))
            callbacks, self._callbacks = self._callbacks, []
            self._changed.notify_all()
        if self._final:
            self._caller.over(self._key)
        for each in callbacks:
            each()

    def next_response(self) -> Optional[RawResponse]:
        """See the base class."""
        with self._changed:
            while not self._waiting and not self._final:
                self._changed.wait()
            if not self._waiting:
                return None
            header, buffers = self._waiting.popleft()
        if not header["final"]:
            self._caller.consumed(self._key)
        if "error" in header:
            return RawResponse({}, None, from_wire(header["error"]))
        arrays = {name: writeable(array) for name, array in frames.unpack_arrays(header["outputs"], buffers).items()}
        return RawResponse(arrays, header.get("parameters"), None, header.get("dtypes"))

    def value(self) -> Any:
        """Wait for the reply to :meth:`hubserve.kinds.raw_requests.Host.ask`, and return its value.

        Raises:
            HubError: the server's.
        """
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            header, _ = self._waiting.popleft()
        if "error" in header:
            raise from_wire(header["error"])
        return header["value"]

    def notify(self, ready: Callable[[], None]) -> None:
        """See the base class."""
        with self._changed:
            if not self._waiting and not self._final:
                self._callbacks.append(ready)
                return
        ready()

    def close(self) -> None:
        """See the base class."""
        if not self._final:
            self._final = True
            self._caller.drop(self._key)


def writeable(array: np.ndarray) -> np.ndarray:
    """Return the array itself, or a copy if it is read-only."""
    return array if array.flags.writeable else array.copy()
