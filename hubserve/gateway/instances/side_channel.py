"""Gateway end of the side channel, for modules that take raw requests; see :mod:`hubserve.instance.side_channel`."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from hubserve.errors import Cancelled, HubError, to_wire
from hubserve.gateway.background import run_in_background
from hubserve.gateway.instances.frame_checks import check_side
from hubserve.gateway.instances.frame_reader import FrameProtocol, dumps
from hubserve.gateway.instances.outcomes import Outcome, outcome_of, settle
from hubserve.gateway.instances.raw_requests import RawRequest
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.instance.open_requests import WINDOW_BYTES, WINDOW_RESPONSES
from hubserve.types import InferResponse
from hubserve.wire import frames

if TYPE_CHECKING:
    from hubserve.gateway.inter_model_calls import ModelCalls, Wait


class SideChannel(FrameProtocol):
    """What one instance and the gateway have to say to each other beside frames of requests and their results.

    Args:
        calls: answers what the instance asks of other modules.
        on_broken: see :class:`FrameProtocol`.
        on_lost: called when the instance has closed the socket.

    Attributes:
        open: the requests that the instance has, by their keys there.
        executing: the keys of those whose frames are not answered.
        waits: the calls that it waits for.
        on_again: is called with each request that goes to the module once more.
        concurrent: whether its module may be given further requests before it has answered.
        decoupled: whether its module answers a request any number of times.
        on_late: is called with each request whose one response came apart from its frame.
        on_fewer: is called when it has fewer requests.
        on_orphans: is called with the requests of an instance that ended and the error; returns those to answer with that error.
    """

    def __init__(self, calls: "ModelCalls", on_broken: Callable[[str], None], on_lost: Callable[[], None]) -> None:
        super().__init__(None, on_broken)
        self._on_lost = on_lost
        self.open: dict[int, QueuedRequest] = {}
        self.executing: set[int] = set()
        self.waits: set[Wait] = set()
        self.on_again: Callable[[QueuedRequest], None] = _nothing
        self.concurrent = False
        self.decoupled = False
        self.on_late: Callable[[QueuedRequest], None] = _nothing
        self.on_fewer: Callable[[], None] = _no_one
        self.on_orphans: Callable[[list[QueuedRequest], HubError], list[QueuedRequest]] = _all
        self._calls = calls
        self._tasks: dict[int, tuple[asyncio.Task[None], Window, frozenset[int]]] = {}
        self._last_key = 0  # of the requests
        self._last_call = 0  # the highest key of a call of the instance
        self._is_closed = False

    @property
    def is_blocked(self) -> bool:
        """Whether what it computes waits for another module."""
        return any(wait.holds for wait in self.waits)

    # --- requests ---

    def begin(self, work: QueuedRequest) -> int:
        """A request is about to be sent to the instance; gives its key."""
        key = self._last_key = self._last_key + 1
        raw = work.raw
        assert isinstance(raw, RawRequest), "it was admitted as a whole request"
        raw.channel, raw.key = self, key
        self.open[key] = work
        if not self.concurrent or work.part is not None:  # those of sequences are waited for
            self.executing.add(key)
        if raw.stream:
            raw.stream.on_taken = partial(self.send, {"op": "taken", "key": key, "count": 1})
        return key

    def forget(self, key: int) -> bool:
        """The instance has a request no more; gives whether it had."""
        self.executing.discard(key)
        work = self.open.pop(key, None)
        if work:
            work.raw.channel = None
            self.on_fewer()
        return work is not None

    def settle(self, work: QueuedRequest, key: int, outcome: Outcome) -> None:
        """A request's frame was answered.

        Args:
            work: the request.
            key: that it had in this frame.
            outcome: its part of the answer.
        """
        self.executing.discard(key)
        if outcome is not None and key in self.open:  # otherwise its responses come, or came, by on_frame()
            self.forget(key)
            settle(work, outcome)

    def given_up(self, key: int) -> None:
        """Nobody waits for a request any more; if its instance still has it, that need not go on."""
        if self.open.pop(key, None) is None:
            return
        self.send({"op": "cancel", "key": key})
        for task, _window, parents in list(self._tasks.values()):
            if key in parents and not any(parent in self.open for parent in parents):
                task.cancel()
        self.on_fewer()

    def lost(self, error: HubError) -> None:
        """The instance has ended: what it had is answered with an error, what it asked for is given up."""
        self.close()
        works, self.open = list(self.open.values()), {}
        self.executing.clear()
        for work in works:
            work.raw.channel = None
        for work in self.on_orphans(works, error):
            if not work.answer.done():
                work.answer.set_exception(error)
        for task, _window, _parents in list(self._tasks.values()):
            task.cancel()

    # --- the socket ---

    def send(self, header: dict[str, Any], buffers: Sequence[Any] = ()) -> None:
        """Send a frame."""
        if self._transport is not None and not self._transport.is_closing():
            self.write(frames.encode(header, buffers, None, dumps))

    def close(self) -> None:
        """Close the socket."""
        self._is_closed = True
        super().close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Handle that the other side ended, or :meth:`close` was called."""
        if not self._is_closed:
            self._on_lost()

    def check(self, header: dict[str, Any]) -> None:
        """See the base class."""
        check_side(header)
        op, key = header["op"], header["key"]
        if op in ("call", "ask"):
            if key in self._tasks:
                raise frames.WireError(f"two calls have the key {key}")
            self._last_call = max(self._last_call, key)
        elif key > (self._last_key if op in ("response", "again") else self._last_call):
            raise frames.WireError(f"a frame of the form '{op}' has the key {key}, which nothing has had")

    def on_frame(self, frame: frames.Frame) -> None:
        """The instance says something."""
        header = frame.header
        key = header["key"]
        if header["op"] == "response":
            self._on_response(key, header, frame.buffers)
        elif header["op"] == "again":
            work = self.open.get(key)
            self.forget(key)
            if work and not work.answer.done():
                self.on_again(work)
        elif header["op"] in ("call", "ask"):
            window = Window()
            parents = frozenset(header.get("parents", ()))
            task = run_in_background(
                self._calls.answer(self, header, frame.buffers, window), "a module's request of another one was answered"
            )
            self._tasks[key] = (task, window, parents)
            task.add_done_callback(partial(self._on_call_over, key))
        elif key in self._tasks:
            task, window, _ = self._tasks[key]
            if header["op"] == "taken":
                window.taken(header["count"])
            else:
                task.cancel()

    def _on_call_over(self, key: int, task: "asyncio.Task[None]") -> None:
        del self._tasks[key]
        if task.cancelled():  # maybe before it began
            reply(self, key, Cancelled("nobody waits for the answer any more"), final=True)

    def _on_response(self, key: int, header: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        work = self.open.get(key)
        if work is None:  # nobody waits for it
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
            settle(work, outcome)
            if stream is None:
                self.on_late(work)
            if work.raw.key not in self.open:
                self.on_fewer()
            return
        if isinstance(outcome, InferResponse):
            stream.put(outcome)
        if final and not work.answer.done():
            work.answer.set_result(InferResponse())
        if final:
            self.on_fewer()


def _nothing(_: QueuedRequest) -> None:
    pass


def _no_one() -> None:
    pass


def _all(works: list[QueuedRequest], _: HubError) -> list[QueuedRequest]:
    return works


class Window:
    """How many replies to one call of an instance may be on their way."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._changed = asyncio.Event()

    def taken(self, count: int) -> None:
        """The instance has taken some."""
        del self._sizes[:count]
        self._changed.set()

    async def room(self, size_bytes: int) -> None:
        """Wait until one more may be sent, and count it."""
        while self._sizes and (len(self._sizes) >= WINDOW_RESPONSES or sum(self._sizes) + size_bytes > WINDOW_BYTES):
            self._changed.clear()
            await self._changed.wait()
        self._sizes.append(size_bytes)


def reply(channel: SideChannel, key: int, response: InferResponse | HubError | None, final: bool, **more: Any) -> None:
    """Send one reply to a call of an instance."""
    header: dict[str, Any] = {"op": "reply", "key": key, "final": final, **more}
    buffers: list[Any] = []
    if isinstance(response, HubError):
        header["error"] = to_wire(response)
    elif response is not None:
        header["outputs"] = frames.pack_arrays(response.tensors or {}, buffers)
        if response.parameters:
            header["parameters"] = response.parameters
    channel.send(header, buffers)
