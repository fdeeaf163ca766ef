"""Describe to an instance for which clients' requests it computes; see :mod:`hubserve.wire.current_requests`."""

from collections.abc import Sequence

from hubserve.gateway.queued_request import QueuedRequest


def described_requests(batch: Sequence[QueuedRequest]) -> list[dict[str, str] | None] | None:
    """Return the header field ``requests`` of a batch's frame; None if none of its requests has an id, so that it is left out."""
    described: list[dict[str, str] | None] | None = None
    for index, work in enumerate(batch):
        record = work.record
        if record is not None and record.request_id:
            if described is None:
                described = [None] * len(batch)
            attempt = work.trace.attempt if work.trace is not None else None
            described[index] = {"id": record.request_id, "trace": attempt.execute.header() if attempt is not None else ""}
    return described
