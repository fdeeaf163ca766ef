"""Decode the outcome of each request from an instance's frame, and resolve its future."""

import logging
from collections.abc import Sequence
from typing import Any

from hubserve.errors import HubError, InvalidInput, from_wire, one_line, without_usage
from hubserve.gateway.instances.unpacking import PackedResponse, has_many_strings, resolve_unpacked
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.types import InferResponse
from hubserve.wire.frames import WireError, unpack_arrays

log = logging.getLogger("hubserve")

#: None if the responses come on the side channel
Outcome = InferResponse | PackedResponse | HubError | None


def outcome_of(result: dict[str, Any], buffers: Sequence[memoryview], final: bool = True, may_be_large: bool = True) -> Outcome:
    """Decode one result of a frame, or one response.

    Args:
        result: checked by :mod:`hubserve.gateway.instances.frame_checks`.
        buffers: the frame's.
        final: whether no more responses follow.
        may_be_large: whether large arrays of byte strings may be left for :func:`resolve` to unpack.
    Raises:
        WireError: its arrays cannot be read from their buffers.
    """
    if "error" in result:
        return from_wire(result["error"])
    if "json" in result:
        return InferResponse(json=buffers[result["json"]], parameters=result.get("parameters"))
    if "outputs" not in result:
        return None
    described = result["outputs"]
    if may_be_large and has_many_strings(described):
        return PackedResponse(described, list(buffers), result.get("parameters"))
    try:
        tensors = unpack_arrays(described, buffers)
    except HubError as error:
        raise WireError(f"the arrays of a result cannot be read: {error.message}") from None
    return InferResponse(tensors=tensors, parameters=result.get("parameters"), final=final)


def resolve(work: QueuedRequest, outcome: InferResponse | PackedResponse | HubError, log_fields: dict[str, str]) -> None:
    """Resolve a request's future, unless its caller no longer waits.

    Args:
        work: the request.
        outcome: of it.
        log_fields: by which lines of the log name the instance.
    """
    if work.answer.done():
        return
    if isinstance(outcome, HubError):
        about = {**log_fields, "request_id": work.record.identify() if work.record is not None else ""}
        if work.trace is not None:
            about["trace_id"] = work.trace.trace.id
        if isinstance(outcome, InvalidInput):  # the client's fault, whatever the module's code raised for it
            log.info("a request was refused: %s", one_line(without_usage(outcome.message)), extra=about)
        elif outcome.detail:
            log.warning("a request failed in module code: %s", outcome.detail, extra=about)
        work.answer.set_exception(outcome)
    elif isinstance(outcome, PackedResponse):
        resolve_unpacked(work.answer, outcome)
    else:
        work.answer.set_result(outcome)
