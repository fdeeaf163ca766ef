"""Instance end of the side channel, a second socket to the gateway for modules that take raw requests.

Its frames are those of :mod:`hubserve.wire.frames`, but they are not requests and answers: each side sends whenever it needs to.

============  ================  =====================================================================================
op            direction         content
============  ================  =====================================================================================
``response``  to the gateway    ``key`` of a request; ``outputs``, ``parameters`` or ``error``; ``final``
``again``     to the gateway    ``key`` of a request that the module is given once more
``taken``     both              ``key`` of a request or call, ``count`` of its responses that have been consumed
``cancel``    to the instance   ``key`` of a request whose answer is not wanted any more
``call``      to the gateway    ``key`` of a call, and the fields of :class:`hubserve.kinds.raw_requests.Call`
``ask``       to the gateway    ``key`` of a call, ``what``, ``arguments``
``drop``      to the gateway    ``key`` of a call that is given up
``reply``     to the instance   ``key`` of a call; ``outputs``, ``parameters``, ``value`` or ``error``; ``final``
``publish``   to the instance   asks for ``metrics``
``metrics``   to the gateway    ``families`` of the module's own metrics: those of their series that have changed
============  ================  =====================================================================================
"""

import itertools
import socket
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence

from hubserve.errors import HubError, InstanceDied, to_wire
from hubserve.instance.metrics_publisher import MetricsPublisher
from hubserve.instance.open_requests import OpenRequests
from hubserve.instance.replies import CallReplies
from hubserve.kinds.raw_requests import Call, Host, RawResponse, Replies
from hubserve.wire import frames

_SERVER_GONE = "the server has ended"
_FORKED = "a process that a model forks cannot make requests of other models or send responses; do it in the instance itself"


class _FrameSender:
    """Sender of frames for several threads, even one that must not wait.

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


class SideChannel(Host):
    """Host services of this process's modules, provided by the gateway.

    Args:
        sock: connected to the gateway.

    Attributes:
        on_lost: called when the channel is closed, maybe by a module that closed a wrong descriptor.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.on_lost: Callable[[], None] = _nothing
        self._sock = sock
        self._sender = _FrameSender(sock, self._lose)
        self._requests = OpenRequests()
        self._metrics = MetricsPublisher(lambda header: self._sender.send(header, ()))
        self._replies: Dict[int, CallReplies] = {}
        self._keys = itertools.count(1)
        self._why_closed = _SERVER_GONE
        threading.Thread(target=self._read, name="hubserve-side", daemon=True).start()

    # --- requests ---

    def begin(self, keys: Sequence[int]) -> None:
        """Record that the module is about to be given requests."""
        self._requests.add(keys)

    def finish(self, keys: Sequence[int]) -> None:
        """Record that requests are answered."""
        self._requests.remove(keys)

    def reschedule(self, key: int) -> None:
        """See the base class."""
        self.finish([key])
        self._sender.send({"op": "again", "key": key}, ())

    def open_keys(self) -> List[int]:
        """See the base class."""
        return self._requests.keys()

    def is_cancelled(self, key: int) -> bool:
        """See the base class."""
        return self._requests.is_cancelled(key)

    def has_acted(self, keys: Sequence[int]) -> bool:
        """See the base class."""
        return self._requests.has_acted(keys)

    def respond(self, key: int, response: Optional[RawResponse], final: bool) -> None:
        """See the base class."""
        self._requests.mark_acted([key])
        header: Dict[str, Any] = {"op": "response", "key": key, "final": final}
        buffers: List[Any] = []
        if response is not None:
            header.update(_described(response, buffers))
            if not self._requests.wait_for_window(key, sum(memoryview(each).nbytes for each in buffers)):
                return
        elif key not in self._requests:
            return
        if final:
            self.finish([key])
        self._sender.send(header, buffers)

    def abandon(self, key: int, error: Optional[HubError]) -> None:
        """See the base class."""
        if self._requests.discard(key):
            self._sender.defer({"op": "response", "key": key, "final": True, **({"error": to_wire(error)} if error else {})})

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
        if not call.trace:
            del header["trace"]
        self._requests.mark_acted(call.parents)
        return self._send_call(header, buffers)

    def ask(self, what: str, arguments: Dict[str, Any], buffers: Sequence[bytes] = ()) -> Any:
        """See the base class."""
        self._requests.mark_acted(self.open_keys())
        return self._send_call({"op": "ask", "what": what, "arguments": arguments}, buffers).value()

    def _send_call(self, header: Dict[str, Any], buffers: Sequence[Any]) -> CallReplies:
        key = next(self._keys)
        replies = CallReplies(self, key)
        self._replies[key] = replies
        if self._requests.is_closed:
            self._fail(replies)
        self._sender.send({**header, "key": key}, buffers)
        return replies

    def consumed(self, key: int) -> None:
        """Report to the gateway that one reply to a call was consumed."""
        self._sender.send({"op": "taken", "key": key, "count": 1}, ())

    def drop(self, key: int) -> None:
        """Give up a call that may not be answered yet."""
        if self._replies.pop(key, None) is not None:
            self._sender.defer({"op": "drop", "key": key})

    def over(self, key: int) -> None:
        """Forget a call that has been answered."""
        self._replies.pop(key, None)

    def _fail(self, replies: CallReplies) -> None:
        replies.put({"error": to_wire(InstanceDied(self._why_closed)), "final": True}, [])

    def publish(self, changes: Callable[[], List[Dict[str, Any]]]) -> None:
        """See the base class."""
        self._metrics.follow(changes)

    # --- the socket ---

    def _read(self) -> None:
        receiver = frames.Receiver(self._sock)
        try:
            while True:
                self._handle(receiver.receive())
        except (EOFError, OSError, frames.WireError):
            pass
        finally:
            self._lose()

    def _handle(self, frame: frames.Frame) -> None:
        header = frame.header
        if header["op"] == "publish":
            self._metrics.answer()
            return
        key = header["key"]
        if header["op"] == "reply":
            replies = self._replies.get(key)
            if replies is not None:
                replies.put(header, frame.buffers)
        elif header["op"] == "cancel":
            self._requests.cancel(key)
        else:
            self._requests.consumed(key, header["count"])

    def _lose(self) -> None:
        """End everything that waits for the gateway."""
        self._requests.close()
        self.on_lost()
        for replies in list(self._replies.values()):
            self._fail(replies)

    def close_in_fork(self) -> None:
        """Close this end in a forked process. Locks that threads held at the fork are never released there, so they are replaced."""
        self.on_lost = _nothing
        self._sock.close()
        self._sender.reset()
        self._metrics.reset()
        self._requests.reset_lock()
        self._why_closed = _FORKED
        for replies in self._replies.values():
            replies.reset_lock()
        self._lose()


def _nothing() -> None:
    pass


def _described(response: RawResponse, buffers: List[Any]) -> Dict[str, Any]:
    if response.error:
        return {"error": to_wire(response.error)}
    described: Dict[str, Any] = {"outputs": frames.pack_arrays(response.outputs, buffers)}
    if response.parameters:
        described["parameters"] = response.parameters
    return described
