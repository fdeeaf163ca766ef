"""``async def execute``: many requests at once in one instance, and what goes wrong with some of them."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.errors import DeadlineExceeded, HubError, InstanceDied, ModuleFailed
from hubserve.gateway.dataplane import DataPlane
from hubserve.gateway.instances import concurrent_dispatcher, instance, pool
from hubserve.types import InferRequest, SequencePart
from tests.behaviours.python_backend.planes import until
from tests.behaviours.test_ensembles import served

pytestmark = pytest.mark.usefixtures("home")

#: X selects the action: wait until so many requests are there at once, or an action below 0
MODEL = """
import asyncio
import os
import time
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.inside = self.most = 0

    async def execute(self, requests):
        self.inside += len(requests)
        self.most = max(self.most, self.inside)
        try:
            return [await self.answer(request, len(requests)) for request in requests]
        finally:
            self.inside -= len(requests)

    async def answer(self, request, together):
        wanted = int(pb_utils.get_input_tensor_by_name(request, "X").as_numpy().ravel()[0])
        while self.most < wanted:
            await asyncio.sleep(0.01)
        if wanted == -1:
            raise ValueError("not this one")
        if wanted == -2:
            await asyncio.sleep(0.2)
            os._exit(4)
        if wanted == -3:
            return pb_utils.InferenceResponse([pb_utils.Tensor("Y", np.array([5], object))])
        if wanted == -4:
            while not request.is_cancelled():
                await asyncio.sleep(0.01)
            open(FOLDER + "/cancelled", "w").close()
        if wanted == -5:
            return None
        if wanted == -6:
            await asyncio.sleep(0.5)
        if wanted == -7:
            time.sleep(1000)
        report = np.array([[wanted, self.most, together, os.getpid()]], np.int32)
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", report)], parameters={"most": self.most})

    def finalize(self):
        open(FOLDER + "/finalized", "w").close()
"""
CONFIG = """backend: 'python' max_batch_size: 8 %s input [ { name: 'X' data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: 'Y' data_type: TYPE_INT32 dims: [ 4 ] } ] instance_group [ { count: 1 kind: KIND_CPU } ]"""


def asked(value: int, deadline_s: float = 30, model: str = "waits", **options: Any) -> InferRequest:
    tensors = {"X": np.array([[value]], np.int32)}
    return InferRequest(model, tensors=tensors, wants_json=False, deadline=time.monotonic() + deadline_s, **options)


async def infer(plane: DataPlane, value: int, **options: Any) -> list[int]:
    answer = await plane.infer(asked(value, **options))
    assert answer.tensors is not None
    return [int(each) for each in answer.tensors["Y"].ravel()]


def run(tmp_path: Path, use: Callable[[DataPlane], Coroutine[Any, Any, None]], batching: str = "", **settings: Any) -> None:
    folder = tmp_path / "store" / "waits"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(MODEL.replace("FOLDER", repr(str(tmp_path))))
    (folder / "config.pbtxt").write_text(CONFIG % batching)
    served(tmp_path / "store", use, **settings)


def test_as_many_requests_as_come_are_computed_at_once_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    async def use(plane: DataPlane) -> None:
        answers = await asyncio.gather(*(infer(plane, 20) for _ in range(19)), plane.infer(asked(20)))
        assert [each[0] for each in answers[:-1]] == [20] * 19, "none is answered before twenty are there"
        assert answers[-1].parameters == {"most": 20}
        for value, text in ((-1, "not this one"), (-3, "the module's answer cannot be sent: .*put bytes or str into it"), (-5, "is None")):
            with pytest.raises(ModuleFailed, match=text):
                await infer(plane, value)
        statistics = plane.get("waits").statistics
        assert (statistics.success.count, statistics.fail.count, statistics.inference_count) == (20, 3, 20)
        assert statistics.computed.infer_s > 0

    run(tmp_path, use)
    assert (tmp_path / "finalized").exists()


def test_of_a_batch_that_fails_only_the_request_that_is_to_blame_has_no_answer(tmp_path: Path) -> None:
    async def use(plane: DataPlane) -> None:
        answers: Any = await asyncio.gather(*(infer(plane, value) for value in (0, 1, -1, 2)), return_exceptions=True)
        assert [each if isinstance(each, HubError) else each[0] for each in answers[:2] + answers[3:]] == [0, 1, 2]
        assert str(answers[2]) == "not this one"
        assert [each[2] for each in answers[:2]] == [2, 2], "they were computed in one batch, and then in halves"

    run(tmp_path, use, "dynamic_batching { max_queue_delay_microseconds: 500000 preferred_batch_size: [ 4 ] }")


def test_requests_that_are_given_up_hold_no_other_one_up(tmp_path: Path) -> None:
    async def use(plane: DataPlane) -> None:
        left = asyncio.create_task(infer(plane, -4))
        waiting = asyncio.create_task(infer(plane, 4))
        with pytest.raises(DeadlineExceeded):
            await infer(plane, 1000, deadline_s=0.2)
        left.cancel()
        await until((tmp_path / "cancelled").exists)
        more = [asyncio.create_task(infer(plane, 4)) for _ in range(3)]
        assert [each[0] for each in await asyncio.gather(waiting, *more)] == [4] * 4
        channel = plane.get("waits").pool.slots[0].instance.side_channel  # type: ignore[union-attr]
        assert channel is not None
        assert not channel.open

    run(tmp_path, use)


def test_an_instance_that_dies_takes_only_the_request_with_it_that_it_dies_of(tmp_path: Path) -> None:
    async def use(plane: DataPlane) -> None:
        innocent = [asyncio.create_task(infer(plane, -6)) for _ in range(5)]
        await asyncio.sleep(0.2)
        killer = asyncio.create_task(infer(plane, -2))
        late = [asyncio.create_task(infer(plane, 0)) for _ in range(4)]
        assert [each[0] for each in await asyncio.gather(*innocent)] == [-6] * 5
        with pytest.raises(InstanceDied):
            await killer
        assert [each[0] for each in await asyncio.gather(*late)] == [0] * 4
        assert (await infer(plane, 1))[0] == 1

    run(tmp_path, use)


def test_so_many_are_at_an_instance_at_most_and_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrent_dispatcher, "MAX_CONCURRENT", 3)

    async def use(plane: DataPlane) -> None:
        answers = await asyncio.gather(*(infer(plane, 3) for _ in range(12)))
        assert {each[1] for each in answers} == {3}

    run(tmp_path, use)


def test_requests_of_a_sequence_are_computed_in_their_order(tmp_path: Path) -> None:
    async def use(plane: DataPlane) -> None:
        parts = [SequencePart(7, start=True), SequencePart(7), SequencePart(7, end=True)]
        answers = await asyncio.gather(*(infer(plane, 0, sequence=part) for part in parts))
        assert [each[1] for each in answers] == [1, 1, 1]

    run(tmp_path, use, "sequence_batching { oldest { max_candidate_sequences: 4 } }")


def test_an_instance_whose_event_loop_stands_still_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_PING_AFTER_S", 0.1)
    monkeypatch.setattr(instance, "PING_TIMEOUT_S", 0.5)

    async def use(plane: DataPlane) -> None:
        before = (await infer(plane, 0))[3]
        held = asyncio.create_task(infer(plane, -7, deadline_s=2))
        with pytest.raises((DeadlineExceeded, InstanceDied)):
            await held
        assert (await infer(plane, 0))[3] != before

    run(tmp_path, use, modules_info={"waits": {"compute_timeout_s": 0.5}})
