"""Iterative sequences: one request that a model is given again and again, with its id and its state."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.errors import InstanceDied, InvalidInput
from hubserve.gateway.dataplane import DataPlane
from hubserve.types import InferRequest, SequencePart
from tests.behaviours.test_ensembles import served

pytestmark = pytest.mark.usefixtures("home")

CONTROLS = """
control_input: [{ name: "correlation_id" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] },
{ name: "start" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] },
{ name: "end" control [ { kind: CONTROL_SEQUENCE_END fp32_false_true: [ 0, 1 ] } ] } ]
oldest {} max_sequence_idle_microseconds: 400000000"""
#: gives a word each time, as many as it is asked for; says how many requests were computed together, and in which process
MODEL = """
import os
import time
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "text_input", "data_type": "TYPE_STRING", "dims": [1]})
        config.add_output({"name": "text_output", "data_type": "TYPE_STRING", "dims": [1]})
        config.set_model_transaction_policy({"decoupled": True})
        config.set_max_batch_size(8)
        return config

    def initialize(self, args):
        self.state = {}

    def execute(self, requests):
        for request in requests:
            get = lambda name: pb_utils.get_input_tensor_by_name(request, name).as_numpy().item()
            number, text = get("correlation_id"), get("text_input").decode()
            assert request.correlation_id() == number
            assert request.flags() == int(get("start")) and not get("end")
            if get("start"):
                self.state[number] = []
            if text.startswith("die"):
                time.sleep(0.2)
                os._exit(4)
            self.state[number].append(len(requests))
            words = self.state[number]
            last = len(words) >= int(text.split()[-1])
            report = np.array([f"{number} {len(words)} {max(words)} {os.getpid()}"], np.object_)
            after = "ALL" if last else "RESCHEDULE"
            request.set_release_flags(getattr(pb_utils, f"TRITONSERVER_REQUEST_RELEASE_{after}"))
            response = pb_utils.InferenceResponse([pb_utils.Tensor("text_output", report)])
            request.get_response_sender().send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0)
            if last:
                del self.state[number]
            time.sleep(0.02 if text.startswith("slow") else 0)
"""


def write(store: Path, instances: int = 1, batching: str = CONTROLS, more: str = "") -> Path:
    (store / "words" / "1").mkdir(parents=True)
    (store / "words" / "1" / "model.py").write_text(MODEL)
    group = f"instance_group [ {{ count: {instances} kind: KIND_CPU }} ]"
    config = f'backend: "python" sequence_batching {{ iterative_sequence: true {batching} }} {group} {more}'
    (store / "words" / "config.pbtxt").write_text(config)
    return store


def request(text: str, sequence: int | str | None = None) -> InferRequest:
    part = None if sequence is None else SequencePart(sequence)
    return InferRequest("words", tensors={"text_input": np.array([[text.encode()]], object)}, wants_json=False, sequence=part)


async def words(plane: DataPlane, text: str, sequence: int | str | None = None) -> list[list[int]]:
    streamed = [each.tensors or {} async for each in plane.stream(request(text, sequence))]
    return [[int(each) for each in tensors["text_output"].ravel()[0].split()] for tensors in streamed]


def test_a_request_is_given_again_with_its_id_and_whether_it_is_new_and_clients_see_neither(tmp_path: Path) -> None:
    async def use(plane: DataPlane) -> None:
        assert [spec.name for spec in plane.get("words").description.inputs] == ["text_input"]
        first = await words(plane, "3")
        assert [each[1] for each in first] == [1, 2, 3]
        assert len({each[0] for each in first}) == 1
        second = await words(plane, "2")
        assert second[0][0] != first[0][0] != 0
        assert {each[0] for each in await words(plane, "2", sequence=77)} == {77}
        with pytest.raises(InvalidInput, match="the model takes sequence ids as uint64"):
            await words(plane, "2", sequence="a text")
        pair = await asyncio.gather(words(plane, "3", sequence=5), words(plane, "2", sequence=5))
        assert [[each[1] for each in answers] for answers in pair] == [[1, 2, 3], [1, 2]], "of one id one after the other"
        assert len(plane.get("words").batcher) == 0

    served(write(tmp_path), use)


def test_requests_stay_at_their_instance_and_are_computed_with_those_that_come_later(tmp_path: Path) -> None:
    async def use(plane: DataPlane) -> None:
        answers = await asyncio.gather(*(words(plane, f"slow {count}") for count in (8, 6, 7, 5, 8, 6)))
        assert [len(each) for each in answers] == [8, 6, 7, 5, 8, 6]
        assert all(len({each[3] for each in steps}) == 1 for steps in answers)
        assert len({steps[0][3] for steps in answers}) == 2
        assert max(steps[-1][2] for steps in answers) == 3

    served(write(tmp_path, instances=2), use)


def test_more_requests_than_an_instance_takes_wait_and_those_that_are_given_up_make_room(tmp_path: Path) -> None:
    batching = CONTROLS.replace("oldest {}", "oldest { max_candidate_sequences: 2 }")

    async def use(plane: DataPlane) -> None:
        endless = [asyncio.create_task(words(plane, "slow 100000")) for _ in range(2)]
        await asyncio.sleep(0.3)
        waiting = asyncio.create_task(words(plane, "2"))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        for task in endless:
            task.cancel()
        assert [each[1] for each in await waiting] == [1, 2]
        assert len(plane.get("words").batcher) == 0

    served(write(tmp_path, batching=batching), use)


def test_a_request_whose_instance_dies_is_lost_once_it_was_computed_and_begun_again_before(tmp_path: Path) -> None:
    async def use(plane: DataPlane) -> None:
        answers = plane.stream(request("slow 100000"))
        tensors = (await anext(answers)).tensors or {}
        os.kill(int(tensors["text_output"].ravel()[0].split()[3]), signal.SIGKILL)
        with pytest.raises(InstanceDied):
            async for _ in answers:
                pass
        killer = asyncio.create_task(words(plane, "die 2"))
        innocent: Any = [asyncio.create_task(words(plane, "3")) for _ in range(4)]
        assert [[each[1] for each in await task] for task in innocent] == [[1, 2, 3]] * 4
        with pytest.raises(InstanceDied):
            await killer
        assert [each[1] for each in await words(plane, "2")] == [1, 2]

    served(write(tmp_path), use)
