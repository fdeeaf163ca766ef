"""The instance's end of a second socket to the gateway, for modules that are given whole requests.

Frames are those of :mod:`hubserve.wire.frames`, but none answers the one before: each side sends when it has something to say.

============  ================  =====================================================================================
op            direction         content
============  ================  =====================================================================================
``response``  to the gateway    ``key`` of a request; ``outputs``, ``parameters`` or ``error``; ``final``
``again``     to the gateway    ``key`` of a request that is to be given to the module once more
``taken``     both              ``key`` of a request or call, ``count`` of its responses that have been taken
``cancel``    to the instance   ``key`` of a request that nobody waits for any more
``call``      to the gateway    ``key`` of a call, and the fields of :class:`hubserve.kinds.raw_requests.Call`
``ask``       to the gateway    ``key`` of a call, ``what``, ``arguments``
``drop``      to the gateway    ``key`` of a call that is not wanted any more
``reply``     to the instance   ``key`` of a call; ``outputs``, ``parameters``, ``value`` or ``error``; ``final``
============  ================  =====================================================================================
"""

import itertools
import socket
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np

from hubserve.errors import HubError, InstanceDied, from_wire, to_wire
from hubserve.kinds.raw_requests import Call, Host, Replies, WholeResponse
from hubserve.wire import frames

#: of one request, or one call: responses that may be on their way, and their bytes; one always may
WINDOW_RESPONSES = 32
WINDOW_BYTES = 8 << 20

_GONE = "the server has gone"
_FORKED = "a process that a model forks cannot make requests of other models or send responses; do it in the instance itself"


class SideChannel(Host):
    """What modules of this process reach the gateway by.

    Args:
        sock: connected to it.

    Attributes:
        on_lost: called when it is closed, maybe by a module that closed a wrong descriptor.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.on_lost: Callable[[], None] = _nothing
        self._sock = sock
        self._writing = threading.Lock()
        #: frames of those that must not wait: they are sent by whoever holds the lock
        self._deferred: Deque[Dict[str, Any]] = deque()
        self._changed = threading.Condition()
        self._open: Set[int] = set()
        self._cancelled: Set[int] = set()
        self._acted: Set[int] = set()  # requests for which something was sent or asked
        self._on_way: Dict[int, Deque[int]] = {}  # of each request, the bytes of each response that has not been taken
        self._replies: Dict[int, _Replies] = {}
        self._keys = itertools.count(1)
        self._gone = False
        self._why_gone = _GONE
        threading.Thread(target=self._read, name="hubserve-side", daemon=True).start()

    # --- requests ---

    def begin(self, keys: Sequence[int]) -> None:
        """The module is about to be given requests."""
        with self._changed:
            self._open.update(keys)

    def finish(self, keys: Sequence[int]) -> None:
        """Requests are answered."""
        with self._changed:
            self._open.difference_update(keys)
            self._cancelled.difference_update(keys)
            self._acted.difference_update(keys)
            for key in keys:
                self._on_way.pop(key, None)
            self._changed.notify_all()

    def again(self, key: int) -> None:
        """See the base class."""
        self.finish([key])
        self._send({"op": "again", "key": key}, ())

    def open_keys(self) -> List[int]:
        """See the base class."""
        with self._changed:
            return list(self._open)

    def is_cancelled(self, key: int) -> bool:
        """See the base class."""
        return key in self._cancelled or self._gone

    def has_acted(self, keys: Sequence[int]) -> bool:
        """See the base class."""
        return not self._acted.isdisjoint(keys)

    def _act(self, keys: Sequence[int]) -> None:
        with self._changed:
            self._acted.update(self._open.intersection(keys))

    def respond(self, key: int, response: Optional[WholeResponse], final: bool) -> None:
        """See the base class."""
        self._act([key])
        header: Dict[str, Any] = {"op": "response", "key": key, "final": final}
        buffers: List[Any] = []
        if response is not None:
            header.update(_described(response, buffers))
            if not self._wait_for_room(key, sum(memoryview(each).nbytes for each in buffers)):
                return
        elif key not in self._open:
            return
        if final:
            self.finish([key])
        self._send(header, buffers)

    def _wait_for_room(self, key: int, size: int) -> bool:
        """Wait until a response may be sent; False if nobody waits for it."""
        with self._changed:
            while True:
                if self._gone or key not in self._open or key in self._cancelled:
                    return False
                on_way = self._on_way.setdefault(key, deque())
                if not on_way or (len(on_way) < WINDOW_RESPONSES and sum(on_way) + size <= WINDOW_BYTES):
                    on_way.append(size)
                    return True
                self._changed.wait()

    def abandon(self, key: int, error: Optional[HubError]) -> None:
        """See the base class."""
        if key not in self._open:
            return
        self._open.discard(key)  # without the lock: this thread may hold it
        self._acted.discard(key)
        self._cancelled.discard(key)
        self._on_way.pop(key, None)
        self._defer({"op": "response", "key": key, "final": True, **({"error": to_wire(error)} if error else {})})

    # --- calls ---

    def call(self, call: Call) -> Replies:
        """See the base class."""
        buffers: List[Any] = []
        header = {
            **call._asdict(),
            "op": "call",
            "inputs": frames.pack_arrays(call.inputs, buffers),
            "sequence": call.sequence and list(call.sequence),
        }
        self._act(call.parents)
        return self._expect(header, buffers)

    def ask(self, what: str, arguments: Dict[str, Any], buffers: Sequence[bytes] = ()) -> Any:
        """See the base class."""
        self._act(self.open_keys())
        return self._expect({"op": "ask", "what": what, "arguments": arguments}, buffers).value()

    def _expect(self, header: Dict[str, Any], buffers: Sequence[Any]) -> "_Replies":
        key = next(self._keys)
        replies = _Replies(self, key)
        self._replies[key] = replies
        if self._gone:
            replies.put({"error": to_wire(InstanceDied(self._why_gone)), "final": True}, [])
        self._send({**header, "key": key}, buffers)
        return replies

    def taken(self, key: int) -> None:
        """One response to a call has been taken."""
        self._send({"op": "taken", "key": key, "count": 1}, ())

    def drop(self, key: int) -> None:
        """A call is not wanted any more, or is over."""
        if self._replies.pop(key, None) is not None:
            self._defer({"op": "drop", "key": key})

    def over(self, key: int) -> None:
        """A call has been answered."""
        self._replies.pop(key, None)

    # --- the socket ---

    def _send(self, header: Dict[str, Any], buffers: Sequence[Any]) -> None:
        with self._writing:
            self._write(header, buffers)
        self._send_deferred()

    def _write(self, header: Dict[str, Any], buffers: Sequence[Any]) -> None:
        try:
            frames.send(self._sock, header, buffers)
        except OSError:
            self._lose()

    def _defer(self, header: Dict[str, Any]) -> None:
        self._deferred.append(header)
        self._send_deferred()

    def _send_deferred(self) -> None:
        # Whoever holds the lock looks again once it has let it go, so that nothing is left behind.
        while self._deferred and self._writing.acquire(blocking=False):
            try:
                while self._deferred:
                    self._write(self._deferred.popleft(), ())
            finally:
                self._writing.release()

    def _read(self) -> None:
        receiver = frames.Receiver(self._sock)
        try:
            while True:
                self._handle(receiver.receive())
        except (EOFError, OSError, frames.WireError):
            pass
        finally:
            self._lose()

    def forget(self) -> None:
        """Close this end in a forked process. Locks that threads held at the fork are never released there, so they are replaced."""
        self.on_lost = _nothing
        self._sock.close()
        self._writing, self._changed = threading.Lock(), threading.Condition()
        self._why_gone = _FORKED
        self._deferred.clear()
        for replies in self._replies.values():
            replies.renew()
        self._lose()

    def _handle(self, frame: frames.Frame) -> None:
        header = frame.header
        key = header["key"]
        if header["op"] == "reply":
            replies = self._replies.get(key)
            if replies is not None:
                replies.put(header, frame.buffers)
            return
        with self._changed:
            if header["op"] == "cancel":
                self._cancelled.add(key)  # it may come before the request itself
                if len(self._cancelled) > len(self._open) + 1024:
                    self._cancelled = {each for each in self._cancelled if each >= min(self._open, default=key)}
            else:
                on_way = self._on_way.get(key, ())
                for _ in range(min(header["count"], len(on_way))):
                    on_way.popleft()  # type: ignore[union-attr]  # there is one
            self._changed.notify_all()

    def _lose(self) -> None:
        """The gateway has gone: nobody is to wait for it."""
        with self._changed:
            self._gone = True
            self._changed.notify_all()
        self.on_lost()
        for replies in list(self._replies.values()):
            replies.put({"error": to_wire(InstanceDied(self._why_gone)), "final": True}, [])


class _Replies(Replies):
    """The responses to one call; they are put in by the reading thread.

    Args:
        side: where the call was made.
        key: the call's.
    """

    def __init__(self, side: SideChannel, key: int) -> None:
        self._side = side
        self._key = key
        self._changed = threading.Condition()
        self._waiting: Deque[Tuple[Dict[str, Any], List[memoryview]]] = deque()
        self._final = False
        self._ready: List[Callable[[], None]] = []

    def renew(self) -> None:
        """See :meth:`SideChannel.forget`."""
        self._changed = threading.Condition()

    def put(self, header: Dict[str, Any], buffers: List[memoryview]) -> None:
        """A reply came."""
        with self._changed:
            if self._final:
                return
            self._final = bool(header["final"])
            if len(header) > 4 or "error" in header:  # more than op, key, final, buffers
                self._waiting.append((header, buffers))
            ready, self._ready = self._ready, []
            self._changed.notify_all()
        if self._final:
            self._side.over(self._key)
        for each in ready:
            each()

    def take(self) -> Optional[WholeResponse]:
        """See the base class."""
        with self._changed:
            while not self._waiting and not self._final:
                self._changed.wait()
            if not self._waiting:
                return None
            header, buffers = self._waiting.popleft()
        if not header["final"]:
            self._side.taken(self._key)
        if "error" in header:
            return WholeResponse({}, None, from_wire(header["error"]))
        arrays = {name: writeable(array) for name, array in frames.unpack_arrays(header["outputs"], buffers).items()}
        return WholeResponse(arrays, header.get("parameters"), None, header.get("dtypes"))

    def value(self) -> Any:
        """Wait for the answer to :meth:`SideChannel.ask`.

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
                self._ready.append(ready)
                return
        ready()

    def close(self) -> None:
        """See the base class."""
        if not self._final:
            self._final = True
            self._side.drop(self._key)


def _nothing() -> None:
    pass


def writeable(array: np.ndarray) -> np.ndarray:
    """The array itself, or a copy if it may not be written to."""
    return array if array.flags.writeable else array.copy()


def _described(response: WholeResponse, buffers: List[Any]) -> Dict[str, Any]:
    if response.error:
        return {"error": to_wire(response.error)}
    described: Dict[str, Any] = {"outputs": frames.pack_arrays(response.outputs, buffers)}
    if response.parameters:
        described["parameters"] = response.parameters
    return described
