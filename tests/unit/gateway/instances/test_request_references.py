"""The clients' requests of a batch, from the gateway to the code that computes it."""

import asyncio
import threading
from typing import Any

import pytest

from hubserve.gateway.instances.request_references import described_requests
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.telemetry.request_record import RequestRecord
from hubserve.wire import current_requests
from hubserve.wire.current_requests import (
    CurrentFrame,
    RequestReference,
    compute_frame,
    current_frame,
    frame_of,
    leave_frame,
    prepare_frame,
)
from hubserve.wire.frames import WireError

LOOP = asyncio.new_event_loop()  # runs nothing: futures need one


def work_of(request_id: str | None) -> QueuedRequest:
    work = QueuedRequest({}, [], 1, None, asyncio.Future(loop=LOOP))
    if request_id is not None:
        work.record = RequestRecord(0.0)
        work.record.request_id = request_id
    return work


def test_nothing_is_sent_unless_a_request_has_an_id() -> None:
    assert described_requests([work_of(None), work_of("")], only_traced=False) is None
    assert described_requests([work_of(None), work_of("mine"), work_of("")], only_traced=False) == [None, {"id": "mine", "trace": ""}, None]
    assert described_requests([work_of(None), work_of("mine"), work_of("")], only_traced=True) is None


def test_a_frame_knows_its_requests() -> None:
    header: dict[str, Any] = {"calls": [{}, {}], "requests": [None, {"id": "mine", "trace": "00-1"}]}
    frame = frame_of(7, header)
    assert frame == CurrentFrame(7, [None, RequestReference("mine", "00-1")])
    assert frame.ids() == ("mine",)
    assert frame._replace(call=0).ids() == ()
    assert frame._replace(call=1).ids() == ("mine",)
    assert frame_of(8, {"merged": {"calls": [[1, "json"]]}}).ids() == ()


@pytest.mark.parametrize("requests", [[], [None, None], "xy", [3], [{"id": "mine"}], 5])
def test_a_malformed_description_of_requests_is_refused(requests: Any) -> None:
    with pytest.raises(WireError, match="requests"):
        frame_of(1, {"calls": [{}], "requests": requests})


def test_threads_work_for_the_frame_that_is_computed_unless_they_decode_another() -> None:
    seen: dict[str, CurrentFrame | None] = {}
    first, second = CurrentFrame(1), CurrentFrame(2)

    def decode() -> None:
        prepare_frame(second)
        seen["decoder"] = current_frame()

    def help_out() -> None:
        seen["helper"] = current_frame()

    compute_frame(first)
    try:
        for work in (decode, help_out):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        assert seen == {"decoder": second, "helper": first}
        assert current_frame() == first
    finally:
        leave_frame()
    assert current_frame() is None


def test_a_coroutine_works_for_its_frame_after_the_frame_was_answered() -> None:
    async def scenario() -> None:
        compute_frame(CurrentFrame(1))
        task = asyncio.create_task(later())
        leave_frame()
        compute_frame(CurrentFrame(2))
        assert await task == CurrentFrame(1)
        leave_frame()

    async def later() -> CurrentFrame | None:
        await asyncio.sleep(0.01)
        return current_requests.current_frame()

    asyncio.run(scenario())
