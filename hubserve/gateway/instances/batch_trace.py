"""Trace the batches that hold traced requests."""

import time
from collections.abc import Sequence
from typing import Any

from hubserve.gateway.call_trace import Attempt, CallTrace
from hubserve.gateway.instances.instance import Instance
from hubserve.gateway.queued_request import QueuedRequest

#: result of a frame for a request whose responses come, or came, on the side channel
_APART = False


class BatchTrace:
    """Spans of one batch: its own, in the trace of its first traced member, and those of each traced member.

    Args:
        batch: its requests.
        members: position in the batch to the trace of a traced request; not empty.
        instance: that computes it.
    """

    __slots__ = ("_attempts", "_attributes", "_context", "_first", "_given_at", "_members")

    def __init__(self, batch: Sequence[QueuedRequest], members: dict[int, CallTrace], instance: Instance) -> None:
        self._members = members
        self._given_at = now = time.monotonic()
        self._first = first = next(iter(members.values()))
        self._context = first.trace.new_context()
        self._attributes = attributes = _attributes(batch, instance)
        self._attempts: dict[int, Attempt] = {}
        for position, member in members.items():
            is_first = member is first
            parent_id = self._context.span_id if is_first else member.context.span_id
            attempt = Attempt(member.trace, parent_id, attributes, () if is_first else (self._context,), now)
            member.begin(attempt)
            self._attempts[position] = attempt

    def answered(self, header: dict[str, Any], begun_at: float, busy_s: float) -> None:
        """Add the spans of a batch that was computed.

        Args:
            header: of the ``results`` frame.
            begun_at: when the instance began with it, on the clock of ``time.monotonic``.
            busy_s: from then until the answer arrived.
        """
        took_s = header["took_s"]
        # half of the transfer to the instance and back came before the module's code
        started_at = begun_at + header["prepare_s"] + max(0.0, busy_s - header["prepare_s"] - took_s) / 2
        times = (begun_at, started_at, started_at + took_s, begun_at + busy_s)
        self._add(begun_at, begun_at + busy_s)
        for position, member in self._members.items():
            result = header["results"][position]
            if result.get("later") is not _APART:
                member.answered(self._attempts[position], times, result.get("error", {}).get("message", ""))

    def failed(self, error: str) -> None:
        """Add the spans of a batch whose instance ended."""
        self._add(self._given_at, time.monotonic(), error)
        for position, member in self._members.items():
            member.answered(self._attempts[position], error=error)

    def _add(self, start: float, end: float, error: str = "") -> None:
        first = self._first
        links = [member.context for member in self._members.values()]
        place = self._context
        first.trace.add("batch", start, end, self._attributes, parent_id=first.context.span_id, context=place, links=links, error=error)


def begin_batch(batch: Sequence[QueuedRequest], instance: Instance) -> BatchTrace | None:
    """Return the trace of a batch that an instance is about to be given; None if none of its requests is traced."""
    members: dict[int, CallTrace] | None = None
    for position, work in enumerate(batch):
        if work.trace is not None:
            if members is None:
                members = {}
            members[position] = work.trace
    return None if members is None else BatchTrace(batch, members, instance)


def _attributes(batch: Sequence[QueuedRequest], instance: Instance) -> dict[str, Any]:
    return {
        "hubserve.module": instance.spec.module,
        "hubserve.batch.requests": len(batch),
        "hubserve.batch.items": sum(work.count for work in batch),
        "hubserve.engine": (instance.description.engine or {}).get("name"),
        "hubserve.instance": str(instance.spec.number),
        "hubserve.instance.address": instance.spec.address or None,
        "process.pid": instance.pid or None,
    }
