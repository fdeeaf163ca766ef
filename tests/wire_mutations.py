"""Mutated frames, written to the gateway's end of an instance's two sockets.

Nothing of hubserve is replaced: a real connection and second socket on an event loop, fed through socket pairs.
"""

import asyncio
import copy
import json
import random
import socket
from collections.abc import Callable
from typing import Any

import numpy as np

from hubserve.errors import HubError, InstanceDied
from hubserve.gateway.dataplane import DataPlane
from hubserve.gateway.instances.connection import Connection
from hubserve.gateway.instances.outcomes import outcome_of
from hubserve.gateway.instances.raw_requests import RawRequest
from hubserve.gateway.instances.side_channel import SideChannel
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.types import InferResponse
from hubserve.wire import frames
from hubserve.wire.arena import REQUESTS_BYTES, RESPONSE_BUFFER_BYTES, Arena

#: changes to one header, on average
_CHANGES = 2
_TIMES = {"times": [[2, 0.01]], "took_s": 0.01, "calls_s": 0.01, "prepare_s": 0.0}
_ARRAY = {"name": "y", "dtype": "float32", "shape": [2, 3], "buffer": 0}
_TEXTS = {"name": "t", "dtype": "bytes", "shape": [1], "buffer": 1}
_ERROR = {"code": "module_failed", "message": "no", "detail": ""}
_DESCRIPTION = {
    "interfaces": ["tensors"],
    "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 3]}],
    "outputs": [],
    "json_array": None,
    "picture_item": None,
    "max_batch_size": 4,
    "engine": {"name": "toy"},
    "batched": True,
    "raw_requests": False,
    "decoupled": False,
    "concurrent": False,
    "optional": [],
    "ragged": [],
    "config": None,
    "labels": None,
}
_COUNTER = {"name": "done", "description": "how many", "kind": "counter", "series": [{"labels": {"a": "1"}, "value": 2.0}]}
_SERIES = {"labels": {}, "value": 3.0, "buckets": [1.0, 2.5], "counts": [0, 1, 1], "was_set": False}
_HISTOGRAM = {"name": "sizes", "description": "", "kind": "histogram", "series": [_SERIES]}
_TENSORS, _JSON = {"interface": "tensors", "answer": "tensors"}, {"interface": "json", "arguments": 0}
_BUFFERS = [np.zeros(6, np.float32).tobytes(), b"\x02\0\0\0ab"]

#: request, answer, bytes of its buffers; the request is None for frames on the second socket
EXCHANGES: list[tuple[dict[str, Any] | None, dict[str, Any], list[bytes]]] = [
    (
        {"op": "infer", "calls": [_TENSORS, _JSON]},
        {"op": "results", "results": [{"outputs": [_ARRAY, _TEXTS]}, {"error": _ERROR}], **_TIMES},
        _BUFFERS,
    ),
    ({"op": "infer", "calls": [_JSON]}, {"op": "results", "results": [{"json": 0}], **_TIMES, "out_of_memory": 2}, [b"{}"]),
    (
        {"op": "infer", "merged": {"inputs": [], "calls": [[2, "tensors"]]}},
        {"op": "results", "results": [{"outputs": [_ARRAY]}], **_TIMES},
        _BUFFERS[:1],
    ),
    ({"op": "infer", "calls": [{"answer": "tensors"}], "together": True}, {"op": "results", "results": [{"later": False}], **_TIMES}, []),
    ({"op": "ping"}, {"op": "pong"}, []),
    ({"op": "load"}, {"op": "loaded", "description": _DESCRIPTION, "times": [[1, 0.1]]}, []),
    ({"op": "load"}, {"op": "failed", "error": _ERROR}, []),
    (None, {"op": "response", "key": 1, "final": True, "outputs": [_ARRAY, _TEXTS], "parameters": {"a": 1}}, _BUFFERS),
    (None, {"op": "response", "key": 1, "final": False, "error": _ERROR}, []),
    (None, {"op": "again", "key": 1}, []),
    (None, {"op": "metrics", "families": [_COUNTER, _HISTOGRAM]}, []),
    (None, {"op": "ask", "key": 1, "what": "is_ready", "arguments": {"name": "x", "version": ""}}, []),
    (
        None,
        {
            "op": "call",
            "key": 1,
            "module": "x",
            "version": "",
            "inputs": [_ARRAY],
            "outputs": [],
            "id": "",
            "parameters": {},
            "sequence": [1, True, False],
            "timeout_us": 0,
            "many": False,
            "parents": [1],
            "blocking": True,
            "halting": False,
        },
        _BUFFERS[:1],
    ),
]

_ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    7,
    2**31,
    2**63,
    10**30,
    0.5,
    float("nan"),
    float("inf"),
    -1e300,
    "",
    "results",
    "outputs",
    "x" * 300,
    "\ud800",
    [],
    [[]],
    [0, 0],
    [-1, 4],
    [REQUESTS_BYTES, 4],
    [REQUESTS_BYTES, RESPONSE_BUFFER_BYTES + 1],
    [2**40, 2**40],
    {},
    {"json": 0},
    {"op": "pong"},
]


def mutated(header: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Return a header with changes anywhere in it, possibly none."""
    changed = copy.deepcopy(header)
    for _ in range(chance.randint(0, 2 * _CHANGES)):
        places = list(_places(changed))
        if not places:
            break
        owner, key = chance.choice(places)
        kind = chance.randrange(4)
        if kind == 0:
            del owner[key]
        elif kind == 1 and isinstance(owner, list):
            owner.insert(key, copy.deepcopy(owner[key]))
        elif kind == 2:
            other, other_key = chance.choice(places)
            owner[key] = copy.deepcopy(other[other_key])
        else:
            owner[key] = copy.deepcopy(chance.choice(_ODD))
    return changed


def _places(value: Any) -> Any:
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    for key, each in items:
        yield value, key
        if isinstance(each, dict | list):
            yield from _places(each)


def raw_frame(header: dict[str, Any], buffers: list[bytes], chance: random.Random) -> bytes:
    """Return a frame with a mutated header, and sometimes with changed bytes and lengths."""
    changed = mutated({"buffers": [len(each) for each in buffers], **header}, chance)
    text = json.dumps(changed).encode("utf-8", "surrogatepass")
    payload = b"".join(buffers)
    header_bytes, payload_bytes = len(text), len(payload)
    if chance.random() < 0.1:
        payload_bytes = chance.choice([0, payload_bytes + 1, 3 << 30, 64 << 30, 2**63])
    if chance.random() < 0.1:
        header_bytes = chance.choice([0, header_bytes + 1, max(0, header_bytes - 1), 64 << 20, 2**31])
    raw = bytearray(frames.HEAD.pack(b"HUB1", header_bytes, payload_bytes) + text + payload)
    for _ in range(chance.choice([0, 0, 0, 1, 8])):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    return bytes(raw[: chance.choice([len(raw), len(raw), len(raw), chance.randint(0, len(raw))])])


class Ends:
    """Both ends of the sockets of a simulated instance.

    Attributes:
        outcomes: the outcome of each frame: ``"frame"`` or ``"died"``.
        broken: the reasons for ending the instance.
    """

    def __init__(self, arena_fd: int) -> None:
        self.outcomes: list[str] = []
        self.broken: list[str] = []
        self._arena_fd = arena_fd
        self._closed = asyncio.Event()

    async def send(self, asked: dict[str, Any] | None, raw: bytes) -> None:
        """Send a request; answer it with these bytes and close the socket."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        end: Connection | SideChannel
        if asked is None:
            models = DataPlane([]).model_access
            _, end = await loop.create_unix_connection(lambda: SideChannel(models, self._break, self._closed.set), sock=ours)
            answer: asyncio.Future[InferResponse] = loop.create_future()
            work = QueuedRequest({}, [], 1, None, answer, raw=RawRequest())
            end.begin(work)
            end.on_rescheduled = lambda work: work.answer.set_result(InferResponse())
        else:
            _, end = await loop.create_unix_connection(
                lambda: Connection(Arena(self._arena_fd), lambda _: None, self._break, lambda _: self._closed.set()), sock=ours
            )
            end.exchange(asked, (), 60.0, self._answered)
        theirs.setblocking(False)
        await loop.sock_sendall(theirs, raw)
        theirs.close()
        await self._closed.wait()
        end.fail(InstanceDied("it ended"))
        if isinstance(end, SideChannel):
            self.outcomes.append("died" if isinstance(answer.exception(), InstanceDied) else "frame")
        end.close()
        await asyncio.sleep(0)

    def _break(self, reason: str) -> None:
        self.broken.append(reason)
        self._closed.set()

    def _answered(self, answer: frames.Frame | InstanceDied) -> None:
        if isinstance(answer, InstanceDied):
            self.outcomes.append("died")
            return
        try:
            outcomes = [outcome_of(result, answer.buffers) for result in answer.header.get("results", ())]
        except frames.WireError:  # a real caller answers its request before it raises
            self.outcomes.append("died")
            raise
        assert all(each is None or isinstance(each, InferResponse | HubError) for each in outcomes)
        self.outcomes.append("frame")


async def exchange(number: int, arena_fd: int, chance: random.Random) -> Ends:
    """Send one mutated frame and return the ends with its outcome."""
    asked, header, buffers = EXCHANGES[number % len(EXCHANGES)]
    ends = Ends(arena_fd)
    await ends.send(asked, raw_frame(header, buffers, chance))
    return ends


def watch_errors(loop: asyncio.AbstractEventLoop, found: list[str]) -> None:
    """Collect exceptions from a loop's callbacks and tasks."""
    report: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None] = lambda _, context: found.append(str(context))  # noqa: E731
    loop.set_exception_handler(report)
