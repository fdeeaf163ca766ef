"""The gateway's end of the second socket to one instance, for modules that are given whole requests; see :mod:`hubserve.instance.side`."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from hubserve.errors import Cancelled, HubError, from_wire, to_wire
from hubserve.instance import wire
from hubserve.instance.side import WINDOW_BYTES, WINDOW_RESPONSES
from hubserve.serving.frames import FrameProtocol, dumps
from hubserve.serving.unpacking import answer_with_arrays
from hubserve.serving.whole import Whole
from hubserve.serving.work import Work
from hubserve.types import InferResponse

if TYPE_CHECKING:
    from hubserve.serving.model_calls import ModelCalls, Wait

log = logging.getLogger("hubserve")


class Talk(FrameProtocol):
    """What one instance and the gateway have to say to each other beside frames of requests and their results.

    Args:
        calls: answers what the instance asks of other modules.

    Attributes:
        open: the requests that the instance has, by their keys there.
        executing: the keys of those whose frames are not answered.
        waits: the calls that it waits for.
        on_again: is told of each request that is to be given to the module once more.
    """

    def __init__(self, calls: "ModelCalls") -> None:
        super().__init__(None)
        self.open: dict[int, Work] = {}
        self.executing: set[int] = set()
        self.waits: set[Wait] = set()
        self.on_again: Callable[[Work], None] = _nothing
        self._calls = calls
        self._tasks: dict[int, tuple[asyncio.Task[None], Window, frozenset[int]]] = {}
        self._keys = itertools.count(1)

    @property
    def is_blocked(self) -> bool:
        """Whether what it computes waits for another module."""
        return any(wait.holds for wait in self.waits)

    # --- requests ---

    def begin(self, work: Work) -> int:
        """A request is about to be sent to the instance; gives its key."""
        key = next(self._keys)
        whole = work.whole
        assert isinstance(whole, Whole), "it was admitted as a whole request"
        whole.talk, whole.key = self, key
        self.open[key] = work
        self.executing.add(key)
        if whole.stream:
            whole.stream.on_taken = partial(self.send, {"op": "taken", "key": key, "count": 1})
        return key

    def forget(self, key: int) -> bool:
        """The instance has a request no more; gives whether it had."""
        self.executing.discard(key)
        work = self.open.pop(key, None)
        if work:
            work.whole.talk = None
        return work is not None

    def settle(self, work: Work, key: int, result: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        """A request's frame was answered.

        Args:
            work: the request.
            key: that it had in this frame.
            result: its part of the answer.
            buffers: the answer's.
        """
        self.executing.discard(key)
        if "later" not in result and key in self.open:  # otherwise its responses come, or came, by on_frame()
            self.forget(key)
            _answer(work, result, buffers)

    def given_up(self, key: int) -> None:
        """Nobody waits for a request any more; if its instance still has it, that need not go on."""
        if self.open.pop(key, None) is None:
            return
        self.send({"op": "cancel", "key": key})
        for task, _window, parents in list(self._tasks.values()):
            if key in parents and not any(parent in self.open for parent in parents):
                task.cancel()

    def lost(self, error: HubError) -> None:
        """The instance has ended: what it had is answered with an error, what it asked for is given up."""
        self.close()
        works, self.open = list(self.open.values()), {}
        self.executing.clear()
        for work in works:
            if not work.answer.done():
                work.answer.set_exception(error)
        for task, _window, _parents in list(self._tasks.values()):
            task.cancel()

    # --- the socket ---

    def send(self, header: dict[str, Any], buffers: Sequence[Any] = ()) -> None:
        """Send a frame."""
        if self._transport is not None and not self._transport.is_closing():
            self.write(wire.encode(header, buffers, None, dumps))

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.abort()

    def on_frame(self, frame: wire.Frame) -> None:
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
            task = asyncio.get_running_loop().create_task(self._calls.answer(self, header, frame.buffers, window))
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
        stream = work.whole.stream if isinstance(work.whole, Whole) else None
        final = header["final"]
        if final or "error" in header:
            self.open.pop(key)
        if stream is None or "error" in header:
            if "error" in header and not final:
                self.send({"op": "cancel", "key": key})  # an error ends a stream
            _answer(work, header, buffers)
            return
        if "outputs" in header:
            stream.put(_response(header, buffers, final))
        if final and not work.answer.done():
            work.answer.set_result(InferResponse())


def _nothing(_: Work) -> None:
    pass


def _answer(work: Work, result: dict[str, Any], buffers: Sequence[memoryview]) -> None:
    if work.answer.done():
        return
    if "error" in result:
        error = from_wire(result["error"])
        if error.detail:
            log.warning("a request failed in module code: %s", error.detail)
        work.answer.set_exception(error)
    elif "json" in result:
        work.answer.set_result(InferResponse(json=buffers[result["json"]], parameters=result.get("parameters")))
    else:
        parameters = result.get("parameters")
        answer_with_arrays(work.answer, result["outputs"], buffers, lambda arrays: InferResponse(tensors=arrays, parameters=parameters))


def _response(result: dict[str, Any], buffers: Sequence[memoryview], final: bool) -> InferResponse:
    tensors = wire.unpack_arrays(result["outputs"], list(buffers))
    return InferResponse(tensors=tensors, parameters=result.get("parameters"), final=final)


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


def reply(talk: Talk, key: int, response: InferResponse | HubError | None, final: bool, **more: Any) -> None:
    """Send one reply to a call of an instance."""
    header: dict[str, Any] = {"op": "reply", "key": key, "final": final, **more}
    buffers: list[Any] = []
    if isinstance(response, HubError):
        header["error"] = to_wire(response)
    elif response is not None:
        header["outputs"] = wire.pack_arrays(response.tensors or {}, buffers)
        if response.parameters:
            header["parameters"] = response.parameters
    talk.send(header, buffers)
