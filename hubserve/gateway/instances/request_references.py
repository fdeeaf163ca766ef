"""Describe to an instance for which clients' requests it computes; see :mod:`hubserve.wire.current_requests`."""

from collections.abc import Sequence

from hubserve.gateway.queued_request import QueuedRequest


def described_requests(batch: Sequence[QueuedRequest], only_traced: bool) -> list[dict[str, str] | None] | None:
    """Return the header field ``requests`` of a batch's frame; None if it has nothing to say, so that it is left out.

    Args:
        batch: in the frame.
        only_traced: describe only requests that are traced. Lines of an instance on this machine name their frame, whose requests
            :mod:`hubserve.gateway.instances.frame_records` knows; one elsewhere also has a log of its own.
    """
    described: list[dict[str, str] | None] | None = None
    for index, work in enumerate(batch):
        record = work.record
        if record is not None and record.request_id and (work.trace is not None or not only_traced):
            if described is None:
                described = [None] * len(batch)
            attempt = work.trace.attempt if work.trace is not None else None
            described[index] = {"id": record.request_id, "trace": attempt.execute.header() if attempt is not None else ""}
    return described
