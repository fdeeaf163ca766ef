"""Requests that modules make of other modules of the same server.

An instance that waits for such a call computes nothing else meanwhile, so calls could wait for one another in a circle. Each call is
looked at when it is made: one that could never be answered is refused at once.
"""

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from hubserve.errors import Cancelled, HubError, InvalidInput, ModuleFailed, ModuleNotFound, Unavailable
from hubserve.gateway.instances.raw_requests import Whole
from hubserve.gateway.instances.side_channel import Talk, Window, reply
from hubserve.gateway.instances.unpacking import unpack
from hubserve.gateway.queued_request import Work
from hubserve.types import BFLOAT16, InferRequest, InferResponse, SequencePart

if TYPE_CHECKING:
    from hubserve.gateway.dataplane import DataPlane
    from hubserve.gateway.served_model import ServedModule

log = logging.getLogger("hubserve")

#: so many modules may call one another for one request of a client
MAX_DEPTH = 16

#: answers what instances ask beside calls: arguments and the content of files in, JSON out
Handler = Callable[[dict[str, Any], Sequence[memoryview]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request, where it is a module.

    Attributes:
        talk: the instance.
        parents: the keys of the requests there that it is made for.
        depth: see :class:`hubserve.gateway.instances.raw_requests.Whole`.
        blocking: whether those requests are computed no further until it is answered.
        halting: whether the instance computes nothing else at all until then.
    """

    talk: Talk
    parents: frozenset[int]
    depth: int
    blocking: bool
    halting: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Wait:
    """A module's request that is not answered.

    Attributes:
        caller: who waits.
        module: for whom.
        work: what is waited for.
    """

    caller: Caller
    module: "ServedModule"
    work: Work

    @property
    def holds(self) -> bool:
        """Whether the instance that waits computes nothing else."""
        if self.work.answer.done():
            return False
        caller = self.caller
        return caller.halting or (caller.blocking and not caller.parents.isdisjoint(caller.talk.executing))


_CALLER: ContextVar[Caller | None] = ContextVar("hubserve_caller", default=None)


def current_depth() -> int:
    """How many modules have called one another until the request that is being made."""
    caller = _CALLER.get()
    return caller.depth if caller else 0


class ModelCalls:
    """Answers what instances ask.

    Args:
        dataplane: the served modules.

    Attributes:
        handlers: by what is asked; "load" and "unload" are put in by whoever offers them.
        infer, stream: answer requests; the data plane's unless somebody puts others in, who knows more forms of request.
    """

    def __init__(self, dataplane: "DataPlane") -> None:
        self._dataplane = dataplane
        self.infer: Callable[[InferRequest], Awaitable[InferResponse]] = dataplane.infer
        self.stream: Callable[[InferRequest], AsyncIterator[InferResponse]] = dataplane.stream
        self._waits: set[Wait] = set()
        self.handlers: dict[str, Handler] = {"is_ready": self._is_ready}

    async def answer(self, talk: Talk, header: dict[str, Any], buffers: Sequence[memoryview], window: Window) -> None:
        """Answer one ``call`` or ``ask`` frame, unless this is cancelled. Never raises for what is asked."""
        key = header["key"]
        try:
            if header["op"] == "ask":
                reply(talk, key, None, final=True, value=await self._ask(header, buffers))
            else:
                await self._call(talk, header, buffers, window)
        except HubError as error:
            reply(talk, key, error, final=True)
        except Exception:
            log.exception("a request that a module made of module '%s' failed", header.get("module"))
            reply(talk, key, ModuleFailed("the server failed; its log says why"), final=True)

    async def _call(self, talk: Talk, header: dict[str, Any], buffers: Sequence[memoryview], window: Window) -> None:
        caller, deadline = _caller_of(talk, header)
        _CALLER.set(caller)
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
            response = _asked_for(await self.infer(request), request)
            reply(talk, key, response, final=True, **self._dtypes(request))
            return
        async with aclosing(cast("AsyncGenerator[InferResponse]", self.stream(request))) as responses:
            async for response in responses:
                await window.room(sum(array.nbytes for array in (response.tensors or {}).values()))
                reply(talk, key, response, final=False, **self._dtypes(request))
        reply(talk, key, None, final=True)

    def _dtypes(self, request: InferRequest) -> dict[str, Any]:
        """Return the datatypes that cannot be derived from the arrays of an answer."""
        try:
            outputs = self._dataplane.get(request.module, request.version).description.outputs
        except ModuleNotFound:  # unloaded since
            return {}
        told = {spec.name: BFLOAT16 for spec in outputs if spec.dtype == BFLOAT16}
        return {"dtypes": told} if told else {}

    async def _ask(self, header: dict[str, Any], buffers: Sequence[memoryview]) -> Any:
        handler = self.handlers.get(header["what"])
        if handler is None:
            raise Unavailable("this server does not load and unload models on request; start it with --model-control explicit")
        return await handler(header["arguments"], buffers)

    async def _is_ready(self, arguments: dict[str, Any], _: Sequence[memoryview]) -> bool:
        try:
            return self._dataplane.get(arguments["name"], arguments["version"] or None).ready
        except ModuleNotFound:
            return False

    # --- circles ---

    def begin(self, module: "ServedModule", work: Work) -> Wait | None:
        """A request is about to be queued; :meth:`end` is to follow with what this gives, unless that is None: no module made it.

        Raises:
            Unavailable: it could never be answered, since everything that could waits for it.
        """
        caller = _CALLER.get()
        if caller is None:
            return None
        wait = Wait(caller, module, work)
        self._waits.add(wait)
        caller.talk.waits.add(wait)
        if self._is_stuck(wait):
            self.end(wait)
            raise Unavailable(
                f"model '{module.plan.info.name}' cannot answer: each of its instances waits, by the requests that it makes, for this "
                "very one. Give it more instances (instance_group in its config.pbtxt), or have its model call no model that calls it."
            )
        return wait

    def end(self, wait: Wait) -> None:
        """A request that a module made was answered."""
        self._waits.discard(wait)
        wait.caller.talk.waits.discard(wait)

    def _is_stuck(self, wait: Wait) -> bool:
        """Whether a call is one of those that can only be answered after another one of those."""
        stuck = {each for each in self._waits if each.holds}
        while wait in stuck:
            blocked = {each.caller.talk for each in stuck}
            halted = {each.caller.talk for each in stuck if each.caller.halting}
            free = {each for each in stuck if _can_go_on(each, blocked, halted)}
            if not free:
                return True
            stuck -= free
        return False


def _can_go_on(wait: Wait, blocked: set[Talk], halted: set[Talk]) -> bool:
    whole = wait.work.whole
    if not isinstance(whole, Whole):  # its module calls nobody
        return True
    if whole.talk is not None:
        return whole.talk not in blocked or (whole.talk not in halted and whole.key not in whole.talk.executing)
    instances = [slot.instance for slot in wait.module.pool.slots if slot.instance]
    return not instances or any(instance.talk not in blocked for instance in instances)


def _caller_of(talk: Talk, header: dict[str, Any]) -> tuple[Caller, float | None]:
    """Who makes a call, and when it is to be given up: no later than all of the requests that it is made for."""
    parents = frozenset(header["parents"])
    works = [talk.open[parent] for parent in parents if parent in talk.open]
    if header["blocking"] and not works and min(parents, default=-1) >= 0:
        raise Cancelled("nobody waits any more for the request that this one is made for")
    depth = 1 + max((work.whole.depth for work in works if isinstance(work.whole, Whole)), default=0)
    if depth > MAX_DEPTH:
        raise InvalidInput(f"models call one another more than {MAX_DEPTH} deep for one request; have them stop earlier")
    deadlines = [work.deadline for work in works]
    known = [each for each in deadlines if each is not None]
    deadline = max(known) if known and len(known) == len(deadlines) else None
    if header["timeout_us"] > 0:
        own = time.monotonic() + header["timeout_us"] / 1e6
        deadline = own if deadline is None else min(own, deadline)
    return Caller(talk, parents, depth, bool(header["blocking"]), bool(header["halting"])), deadline


def _asked_for(response: InferResponse, request: InferRequest) -> InferResponse:
    """The response with the outputs that were asked for alone.

    Raises:
        InvalidInput: one of them is not there.
    """
    if request.outputs is None:
        return response
    tensors = response.tensors or {}
    missing = [name for name in request.outputs if name not in tensors]
    if missing:
        raise InvalidInput(f"unexpected inference output '{missing[0]}' for model '{request.module}'; it has {list(tensors)}")
    return response._replace(tensors={name: tensors[name] for name in request.outputs})
