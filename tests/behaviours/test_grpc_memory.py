"""gRPC messages and answers count against ``max_pending_bytes`` and release what they hold."""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.behaviours.grpc_clients import SERVICE, Answers, start_with_grpc, tensor
from tests.conftest import servers, toy, wait_for
from tests.unit.net.http2.raw import DATA, Raw, frame

PENDING = 6 << 20


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that holds up the doubler for as long as it is there."""
    return tmp_path_factory.mktemp("gate") / "closed"


@pytest.fixture(scope="module")
def address(shared_home: Path, tmp_path_factory: pytest.TempPathFactory, gate: Path) -> Iterator[str]:
    slow = {"doubler": {**toy("doubler", gate=str(gate)), "workers": 1}}
    with servers(shared_home, tmp_path_factory.mktemp("grpc_memory")) as start:
        yield start_with_grpc(start, "tensors", modules=slow, max_pending_bytes=PENDING)[1]


def sized(size: int) -> list[triton.InferInput]:
    """Return the inputs of a request of this size, whose answer is as large."""
    return [tensor("a", np.zeros((1, size // 4), np.int32), "INT32"), tensor("b", np.zeros((1, 2), np.int32), "INT32")]


def fits(client: triton.InferenceServerClient, size: int) -> bool:
    try:
        client.infer("tensors", sized(size))
    except InferenceServerException as error:
        if "max_pending_bytes" not in error.message():
            raise
        return False
    return True


def answered(client: triton.InferenceServerClient) -> int:
    statistics = client.get_inference_statistics("tensors").model_stats
    return sum(version.inference_stats.success.count for version in statistics)


@contextlib.contextmanager
def waiting_answers(client: triton.InferenceServerClient, gate: Path) -> Iterator[Any]:
    """Open a stream whose large answers are ready and wait behind one that is not computed before the gate is opened."""
    answers, before = Answers(), answered(client)
    gate.touch()
    client.start_stream(answers)
    client.async_stream_infer("doubler", [tensor("x", np.ones((1, 1), np.float32))], request_id="slow")
    for number in range(4):
        client.async_stream_infer("tensors", sized(400_000), request_id=str(number))
    # No other test may send requests before all are in: one more could exceed the limit.
    wait_for(lambda: answered(client) == before + 4)
    try:
        yield answers
    finally:
        gate.unlink(missing_ok=True)


def test_answers_that_wait_for_their_turn_count_and_are_given_back(address: str, gate: Path) -> None:
    with triton.InferenceServerClient(address) as client, triton.InferenceServerClient(address) as other:
        with waiting_answers(client, gate) as answers:
            assert not fits(other, PENDING - 1_000_000)
            gate.unlink()
            assert [answers.next().get_response().id for _ in range(5)] == ["slow", "0", "1", "2", "3"]
            client.stop_stream()
        wait_for(lambda: fits(other, PENDING - 100_000))


def test_a_stream_that_is_cancelled_gives_back_what_its_waiting_answers_held(address: str, gate: Path) -> None:
    with triton.InferenceServerClient(address) as client, triton.InferenceServerClient(address) as other, waiting_answers(client, gate):
        client.stop_stream(cancel_requests=True)
        wait_for(lambda: fits(other, PENDING - 100_000))


def test_announced_messages_hold_nothing_and_messages_that_came_hold_what_came(address: str) -> None:
    port = int(address.rpartition(":")[2])
    with Raw(port) as crowd, triton.InferenceServerClient(address) as other:
        for number in range(1, 33, 2):
            crowd.send(crowd.headers(number, SERVICE + "ModelInfer"), frame(DATA, 0, number, struct.pack(">BI", 0, PENDING)))
        crowd.synchronize()
        assert fits(other, PENDING // 2)
        for number in range(1, 33, 2):
            crowd.send(*[frame(DATA, 0, number, bytes(100_000))] * 5)
        crowd.synchronize()
        assert not fits(other, 1_000_000)
        assert fits(other, 40_000), "small ones are never refused for others' sake"
    with triton.InferenceServerClient(address) as other:
        wait_for(lambda: fits(other, PENDING - 100_000))
