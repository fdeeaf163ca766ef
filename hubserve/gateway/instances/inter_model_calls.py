"""Answer the calls that a module makes of other modules of the same server, over its instance's side channel."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, cast

from hubserve.errors import Cancelled, HubError, InvalidInput, ModuleFailed, to_wire
from hubserve.gateway.call_trace import PARENT
from hubserve.gateway.deadlock_detection import Caller, CallingChannel, set_caller
from hubserve.gateway.instances.raw_requests import RawRequest
from hubserve.gateway.instances.unpacking import unpack
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.instance.open_requests import WINDOW_BYTES, WINDOW_RESPONSES
from hubserve.telemetry.request_record import CURRENT
from hubserve.telemetry.trace_context import TraceContext, parse_traceparent
from hubserve.types import BFLOAT16, InferRequest, InferResponse, SequencePart
from hubserve.wire import frames
from hubserve.wire.model_access import ModelAccess

log = logging.getLogger("hubserve")

#: modules that may call one another for one request of a client
MAX_DEPTH = 16


class Window:
    """Flow control of the replies to one call of an instance."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._changed = asyncio.Event()

    def credit(self, count: int) -> None:
        """Free the room of ``count`` replies that the instance has consumed."""
        del self._sizes[:count]
        self._changed.set()

    async def reserve(self, size_bytes: int) -> None:
        """Wait until one more reply may be sent, and count it."""
        while self._sizes and (len(self._sizes) >= WINDOW_RESPONSES or sum(self._sizes) + size_bytes > WINDOW_BYTES):
            self._changed.clear()
            await self._changed.wait()
        self._sizes.append(size_bytes)


def reply(channel: CallingChannel, key: int, response: InferResponse | HubError | None, final: bool, **more: Any) -> None:
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


async def answer_call(
    models: ModelAccess, channel: CallingChannel, header: dict[str, Any], buffers: Sequence[memoryview], window: Window
) -> None:
    """Answer one ``call`` or ``ask`` frame of an instance, errors included, until cancelled.

    Args:
        models: the models that the module may use.
        channel: of the calling instance.
        header: of the frame, checked.
        buffers: of the frame.
        window: flow control of the replies.
    """
    key = header["key"]
    try:
        if header["op"] == "ask":
            reply(channel, key, None, final=True, value=await _control(models, header["what"], header["arguments"], buffers))
        else:
            await _infer(models, channel, header, buffers, window)
    except HubError as error:
        reply(channel, key, error, final=True)
    except Exception:
        log.exception("a request that a module made of module '%s' failed", header.get("module"), extra=channel.log_fields)
        reply(channel, key, ModuleFailed("the server failed; see the server log"), final=True)


async def _infer(
    models: ModelAccess, channel: CallingChannel, header: dict[str, Any], buffers: Sequence[memoryview], window: Window
) -> None:
    caller, deadline = _caller_of(channel, header)
    works = [channel.open[parent] for parent in header["parents"] if parent in channel.open]
    _attribute(works, parse_traceparent(header.get("trace", "")))
    set_caller(caller)
    outputs, sequence = header["outputs"], header["sequence"]
    request = InferRequest(
        module=header["module"],
        version=header["version"] or None,
        tensors=await unpack(header["inputs"], buffers),
        wants_json=False,
        deadline=deadline,
        outputs=outputs or None,
        id=header["id"],
        parameters=header["parameters"],
        sequence=SequencePart(*sequence) if sequence else None,
    )
    key = header["key"]
    if not header["many"]:
        response = _requested_outputs(await models.infer(request), request)
        reply(channel, key, response, final=True, **_dtypes(models, request))
        return
    async with aclosing(cast("AsyncGenerator[InferResponse]", models.stream(request))) as responses:
        async for response in responses:
            await window.reserve(sum(array.nbytes for array in (response.tensors or {}).values()))
            reply(channel, key, response, final=False, **_dtypes(models, request))
    reply(channel, key, None, final=True)


def _attribute(works: Sequence[QueuedRequest], place: TraceContext | None) -> None:
    """Attribute what the current task does from now on to the client's request that a call is made for, and to its span.

    Args:
        works: the requests that it may be made for.
        place: the span that the module names; another one than of these requests does not count.
    """
    traced = [work for work in works if work.trace is not None and (place is None or work.trace.context.trace_id == place.trace_id)]
    chosen = traced[0] if traced else next((work for work in works if work.record is not None), None)
    CURRENT.set(chosen.record if chosen is not None else None)
    if chosen is not None and chosen.trace is not None:
        PARENT.set(place.span_id if place is not None and traced else chosen.trace.place_of_code().span_id)


def _dtypes(models: ModelAccess, request: InferRequest) -> dict[str, Any]:
    """Return the header fields for datatypes that the arrays of an answer cannot show."""
    names = models.bfloat16_outputs(request.module, request.version)
    return {"dtypes": dict.fromkeys(names, BFLOAT16)} if names else {}


async def _control(models: ModelAccess, what: str, arguments: dict[str, Any], buffers: Sequence[memoryview]) -> bool | None:
    name = arguments["name"]
    if what == "is_ready":
        return models.is_ready(name, arguments["version"] or None)
    if what == "load":
        files = {file: bytes(content) for file, content in zip(arguments["files"], buffers, strict=True)}
        await models.load(name, arguments["config"], files)
    else:
        await models.unload(name, arguments["unload_dependents"])
    return None


def _caller_of(channel: CallingChannel, header: dict[str, Any]) -> tuple[Caller, float | None]:
    """Return the caller of a call, and its deadline: no later than the latest of its parent requests' deadlines."""
    parents = frozenset(header["parents"])
    works = [channel.open[parent] for parent in parents if parent in channel.open]
    if header["blocking"] and not works and min(parents, default=-1) >= 0:
        raise Cancelled("the request that this one is made for is no longer waited for")
    depth = 1 + max((work.raw.depth for work in works if isinstance(work.raw, RawRequest)), default=0)
    if depth > MAX_DEPTH:
        raise InvalidInput(f"models call one another more than {MAX_DEPTH} deep for one request; have them stop earlier")
    deadlines = [work.deadline for work in works]
    known = [each for each in deadlines if each is not None]
    deadline = max(known) if known and len(known) == len(deadlines) else None
    if header["timeout_us"] > 0:
        own = time.monotonic() + header["timeout_us"] / 1e6
        deadline = own if deadline is None else min(own, deadline)
    return Caller(channel, parents, depth, bool(header["blocking"]), bool(header["halting"])), deadline


def _requested_outputs(response: InferResponse, request: InferRequest) -> InferResponse:
    """Return the response with the requested outputs only.

    Raises:
        InvalidInput: one of them is missing.
    """
    if request.outputs is None:
        return response
    tensors = response.tensors or {}
    missing = [name for name in request.outputs if name not in tensors]
    if missing:
        raise InvalidInput(f"unexpected inference output '{missing[0]}' for model '{request.module}'; it has {list(tensors)}")
    return response._replace(tensors={name: tensors[name] for name in request.outputs})
