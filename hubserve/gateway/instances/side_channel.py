"""Gateway end of the side channel, for modules that take raw requests; see :mod:`hubserve.instance.side_channel`."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from hubserve.errors import Cancelled, HubError
from hubserve.gateway.background import run_in_background
from hubserve.gateway.deadlock_detection import Wait
from hubserve.gateway.instances.frame_checks import check_side_frame
from hubserve.gateway.instances.frame_reader import FrameProtocol, dumps
from hubserve.gateway.instances.inter_model_calls import Window, answer_call, reply
from hubserve.gateway.instances.outcomes import Outcome, outcome_of, resolve
from hubserve.gateway.instances.published_metrics import InstanceMetrics
from hubserve.gateway.instances.raw_requests import RawRequest
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.types import InferResponse
from hubserve.wire import frames
from hubserve.wire.model_access import ModelAccess


class SideChannel(FrameProtocol):
    """The second socket to an instance, for what is not a frame of requests or its results.

    Args:
        models: returns the models that the instance's module may use.
        on_broken: see :class:`FrameProtocol`.
        on_lost: called when the instance has closed the socket.

    Attributes:
        open: the requests that the instance has, by their keys there.
        executing: the keys of those whose frames are not answered.
        waits: the instance's own calls that are not answered.
        metrics: what its module publishes.
        concurrent: whether its module may be given further requests before it has answered.
        decoupled: whether its module answers a request any number of times.
        on_rescheduled: called with each request that the module wants to be given once more.
        on_late_response: called with each request whose single response came apart from its frame.
        on_fewer: called when it has fewer requests.
        on_orphans: called with the requests of an instance that ended and the error; returns those to fail with that error.
    """

    def __init__(self, models: Callable[[], ModelAccess], on_broken: Callable[[str], None], on_lost: Callable[[], None]) -> None:
        super().__init__(None, on_broken)
        self._on_lost = on_lost
        self.open: dict[int, QueuedRequest] = {}
        self.executing: set[int] = set()
        self.waits: set[Wait] = set()
        self.metrics = InstanceMetrics(partial(self.send, {"op": "publish"}))
        self.concurrent = False
        self.decoupled = False
        self.on_rescheduled: Callable[[QueuedRequest], None] = _ignore
        self.on_late_response: Callable[[QueuedRequest], None] = _ignore
        self.on_fewer: Callable[[], None] = _ignore_change
        self.on_orphans: Callable[[list[QueuedRequest], HubError], list[QueuedRequest]] = _all
        self._models = models
        self._calls: dict[int, tuple[asyncio.Task[None], Window, frozenset[int]]] = {}  # task, flow control, parents
        self._last_key = 0  # of the requests
        self._last_call = 0  # the highest key of a call of the instance
        self._is_closed = False

    @property
    def is_blocked(self) -> bool:
        """True if the instance computes nothing because it waits for another module."""
        return any(wait.blocks_instance for wait in self.waits)

    # --- requests ---

    def begin(self, work: QueuedRequest) -> int:
        """Register a request that is about to be sent, and return its key."""
        key = self._last_key = self._last_key + 1
        raw = work.raw
        assert isinstance(raw, RawRequest), "it was admitted as a raw request"
        raw.channel, raw.key = self, key
        self.open[key] = work
        if not self.concurrent or work.part is not None:  # those of sequences are waited for
            self.executing.add(key)
        if raw.stream:
            raw.stream.on_consumed = partial(self.send, {"op": "taken", "key": key, "count": 1})
        return key

    def forget(self, key: int) -> bool:
        """Drop a request that the instance no longer has; returns whether it had it."""
        self.executing.discard(key)
        work = self.open.pop(key, None)
        if work:
            work.raw.channel = None
            self.on_fewer()
        return work is not None

    def on_frame_answered(self, work: QueuedRequest, key: int, outcome: Outcome) -> None:
        """Resolve a request whose frame was answered.

        Args:
            work: the request.
            key: its key in that frame.
            outcome: its part of the answer.
        """
        self.executing.discard(key)
        if outcome is not None and key in self.open:  # otherwise its responses come, or came, by on_frame()
            self.forget(key)
            resolve(work, outcome, self.log_fields)

    def cancel(self, key: int) -> None:
        """Cancel a request that is no longer waited for, if the instance still has it, and the calls made for it alone."""
        if self.open.pop(key, None) is None:
            return
        self.send({"op": "cancel", "key": key})
        for task, _window, parents in list(self._calls.values()):
            if key in parents and not any(parent in self.open for parent in parents):
                task.cancel()
        self.on_fewer()

    def fail(self, error: HubError) -> None:
        """Fail the requests of an instance that has ended, and cancel its calls."""
        self.close()
        works, self.open = list(self.open.values()), {}
        self.executing.clear()
        for work in works:
            work.raw.channel = None
        for work in self.on_orphans(works, error):
            if not work.answer.done():
                work.answer.set_exception(error)
        for task, _window, _parents in list(self._calls.values()):
            task.cancel()

    # --- the socket ---

    def send(self, header: dict[str, Any], buffers: Sequence[Any] = ()) -> None:
        """Send a frame."""
        if self._transport is not None and not self._transport.is_closing():
            self.write(frames.encode(header, buffers, None, dumps))

    def close(self) -> None:
        """Close the socket."""
        self._is_closed = True
        self.metrics.end()
        super().close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Report that the instance closed the socket, unless :meth:`close` was called."""
        if not self._is_closed:
            self._on_lost()

    def check(self, header: dict[str, Any]) -> None:
        """Check a frame's header; see the base class."""
        check_side_frame(header)
        op = header["op"]
        if op == "metrics":
            return
        key = header["key"]
        if op in ("call", "ask"):
            if key in self._calls:
                raise frames.WireError(f"two calls have the key {key}")
            self._last_call = max(self._last_call, key)
        elif key > (self._last_key if op in ("response", "again") else self._last_call):
            raise frames.WireError(f"a frame of the form '{op}' has the unknown key {key}")

    def on_frame(self, frame: frames.Frame) -> None:
        """Handle a frame of the instance."""
        header = frame.header
        if header["op"] == "metrics":
            self.metrics.apply(header["families"])
            return
        key = header["key"]
        if header["op"] == "response":
            self._on_response(key, header, frame.buffers)
        elif header["op"] == "again":
            work = self.open.get(key)
            self.forget(key)
            if work and work.trace is not None:
                work.trace.returned()
            if work and not work.answer.done():
                self.on_rescheduled(work)
        elif header["op"] in ("call", "ask"):
            window = Window()
            parents = frozenset(header.get("parents", ()))
            answering = answer_call(self._models(), self, header, frame.buffers, window)
            task = run_in_background(answering, "a module's request of another one was answered")
            self._calls[key] = (task, window, parents)
            task.add_done_callback(partial(self._on_call_done, key))
        elif key in self._calls:
            task, window, _ = self._calls[key]
            if header["op"] == "taken":
                window.credit(header["count"])
            else:
                task.cancel()

    def _on_call_done(self, key: int, task: "asyncio.Task[None]") -> None:
        del self._calls[key]
        if task.cancelled():  # maybe before it began
            reply(self, key, Cancelled("the answer is no longer waited for"), final=True)

    def _on_response(self, key: int, header: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        work = self.open.get(key)
        if work is None:  # it was cancelled
            return
        stream = work.raw.stream if isinstance(work.raw, RawRequest) else None
        outcome = outcome_of(header, buffers, final=header["final"], may_be_large=stream is None)
        final = header["final"]
        if stream is None and outcome is None:
            raise frames.WireError("a response is empty to a request that has exactly one")
        if final or isinstance(outcome, HubError):
            self.open.pop(key)
        if isinstance(outcome, HubError) and not final:
            self.send({"op": "cancel", "key": key})  # an error ends a stream
        if stream is None or isinstance(outcome, HubError):
            assert outcome is not None, "it was checked"
            resolve(work, outcome, self.log_fields)
            if stream is None:
                self.on_late_response(work)
            if work.raw.key not in self.open:
                self.on_fewer()
            return
        if isinstance(outcome, InferResponse):
            stream.put(outcome)
        if final and not work.answer.done():
            work.answer.set_result(InferResponse())
        if final:
            self.on_fewer()


def _ignore(_: QueuedRequest) -> None:
    pass


def _ignore_change() -> None:
    pass


def _all(works: list[QueuedRequest], _: HubError) -> list[QueuedRequest]:
    return works
