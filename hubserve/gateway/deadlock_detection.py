"""Refuse calls between modules that would wait for one another in a circle.

An instance that waits for a call computes nothing else meanwhile, so calls could wait for one another for ever. Each call is checked
when it is made, and one that could never be answered is refused at once.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from hubserve.errors import Unavailable
from hubserve.gateway.instances.raw_requests import RawRequest, RequestChannel
from hubserve.gateway.queued_request import QueuedRequest


class CallingChannel(RequestChannel, Protocol):
    """The side channel of an instance that calls other modules.

    Attributes:
        waits: its calls that are not answered.
        log_fields: by which lines of the log name the instance.
    """

    waits: "set[Wait]"
    log_fields: dict[str, str]


class Callee(Protocol):
    """A served module, as a call to it needs it."""

    @property
    def name(self) -> str:
        """The served name."""

    def channels(self) -> Sequence[RequestChannel | None]:
        """Return the side channel of each running instance; None for an instance without one."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The module that makes a request.

    Attributes:
        channel: of the calling instance.
        parents: keys of the requests at that instance for which it makes this one.
        depth: see :class:`hubserve.gateway.instances.raw_requests.RawRequest`.
        blocking: whether the parents are computed no further until this request is answered.
        halting: whether the instance computes nothing else at all until then.
    """

    channel: CallingChannel
    parents: frozenset[int]
    depth: int
    blocking: bool
    halting: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Wait:
    """A module's unanswered call.

    Attributes:
        caller: the waiting module.
        callee: the called one.
        work: the call, as queued for the callee.
    """

    caller: Caller
    callee: Callee
    work: QueuedRequest

    @property
    def blocks_instance(self) -> bool:
        """True if the calling instance computes nothing else meanwhile."""
        if self.work.answer.done():
            return False
        caller = self.caller
        return caller.halting or (caller.blocking and not caller.parents.isdisjoint(caller.channel.executing))


_CALLER: ContextVar[Caller | None] = ContextVar("hubserve_caller", default=None)


def set_caller(caller: Caller) -> None:
    """Attribute the requests that the current task makes from now on to a module."""
    _CALLER.set(caller)


def current_depth() -> int:
    """Return how many modules have called one another up to the current request."""
    caller = _CALLER.get()
    return caller.depth if caller else 0


class DeadlockDetector:
    """The unanswered calls between the modules of one server."""

    def __init__(self) -> None:
        self._waits: set[Wait] = set()

    def begin(self, callee: Callee, work: QueuedRequest) -> Wait | None:
        """Register a request that is about to be queued, if a module makes it; pass the result to :meth:`end`.

        Returns:
            None for requests of clients.
        Raises:
            Unavailable: the call could never be answered, because everything that could answer it waits for it.
        """
        caller = _CALLER.get()
        if caller is None:
            return None
        wait = Wait(caller, callee, work)
        self._waits.add(wait)
        caller.channel.waits.add(wait)
        if self._is_deadlocked(wait):
            self.end(wait)
            raise Unavailable(
                f"model '{callee.name}' cannot answer: each of its instances waits, by the requests that it makes, for this "
                "very one. Give it more instances (instance_group in its config.pbtxt), or have its model call no model that calls it."
            )
        return wait

    def end(self, wait: Wait) -> None:
        """Drop a call that was answered."""
        self._waits.discard(wait)
        wait.caller.channel.waits.discard(wait)

    def _is_deadlocked(self, wait: Wait) -> bool:
        """Return True if a call can only be answered after calls that wait for it in turn."""
        stuck = {each for each in self._waits if each.blocks_instance}
        while wait in stuck:
            blocked = {each.caller.channel for each in stuck}
            halted = {each.caller.channel for each in stuck if each.caller.halting}
            free = {each for each in stuck if _can_proceed(each, blocked, halted)}
            if not free:
                return True
            stuck -= free
        return False


def _can_proceed(wait: Wait, blocked: set[CallingChannel], halted: set[CallingChannel]) -> bool:
    raw = wait.work.raw
    if not isinstance(raw, RawRequest):  # its module calls no others
        return True
    if raw.channel is not None:
        return raw.channel not in blocked or (raw.channel not in halted and raw.key not in raw.channel.executing)
    channels = wait.callee.channels()
    return not channels or any(channel not in blocked for channel in channels)
