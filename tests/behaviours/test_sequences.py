"""Requests of one sequence are computed in their order, by one instance, which is told of them."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.errors import HubError, InstanceDied, InvalidInput, Unavailable
from hubserve.gateway.dataplane import DataPlane, ModulePlan
from hubserve.gateway.scheduling.sequence_plan import CORRELATION_ID, DIRECT, END, OLDEST, READY, START, Control, SequencePlan, State
from hubserve.types import InferRequest, SequencePart
from tests.behaviours.test_scheduling import plan_of, run

pytestmark = pytest.mark.usefixtures("home")

CONTROLS = (
    Control("START", START, "int32"),
    Control("END", END, "float32", 0.0, 1.0),
    Control("READY", READY, "bool", False, True),
    Control("CORRID", CORRELATION_ID, "uint64"),
)
SUM = State("SUM", "NEXT_SUM", "float32", (1,))
Answer = dict[str, float]


def plan(init_args: dict[str, Any] | None = None, workers: int = 1, states: Sequence[State] = (), **options: Any) -> ModulePlan:
    options = {"max_idle_s": 60.0, "controls": CONTROLS, **options}
    return replace(plan_of("adder", init_args, workers=workers), sequences=SequencePlan(**options, states=states))


async def ask(dataplane: DataPlane, number: float, name: int | str, start: bool = False, end: bool = False, **options: Any) -> Answer:
    tensors = {"x": np.array([[number]], np.float32)}
    request = InferRequest("adder", tensors=tensors, wants_json=False, sequence=SequencePart(name, start, end), **options)
    answer = (await dataplane.infer(request)).tensors
    assert answer is not None
    assert "NEXT_SUM" not in answer
    return {key: float(array[0, 0]) for key, array in answer.items()}


async def whole(dataplane: DataPlane, name: int | str, numbers: Sequence[float]) -> list[Answer]:
    """A whole sequence, all of its requests at once."""
    last = len(numbers) - 1
    return list(await asyncio.gather(*(ask(dataplane, each, name, not index, index == last) for index, each in enumerate(numbers))))


def sums(numbers: Sequence[float]) -> list[float]:
    return [float(sum(numbers[: index + 1])) for index in range(len(numbers))]


@pytest.mark.parametrize(
    ("init_args", "options"),
    [
        ({"by": "place"}, {"strategy": DIRECT}),
        ({"by": "id"}, {"strategy": OLDEST, "slots": 6}),
        ({"by": "id"}, {"strategy": OLDEST, "slots": 3, "preferred_sizes": [2], "max_delay_s": 0.005}),
        ({"by": "state"}, {"strategy": DIRECT, "states": [SUM]}),
        ({"by": "state"}, {"strategy": OLDEST, "slots": 5, "states": [SUM]}),
    ],
    ids=["direct", "oldest", "oldest with a preferred size", "direct with a state", "oldest with a state"],
)
def test_every_sequence_is_computed_in_order_by_one_instance(init_args: dict[str, Any], options: dict[str, Any]) -> None:
    """With more sequences than slots, and requests that all come at once."""
    source = random.Random(7)
    sequences = {name: [source.randint(1, 99) for _ in range(source.randint(1, 8))] for name in range(1, 31)}

    async def scenario(dataplane: DataPlane) -> None:
        answers = await asyncio.gather(*(whole(dataplane, name, numbers) for name, numbers in sequences.items()))
        for given, got in zip(sequences.values(), answers, strict=True):
            assert [each["sum"] for each in got] == sums(given)
            assert len({each["pid"] for each in got}) == 1
            assert [each["started"] for each in got] == [1.0] + [0.0] * (len(given) - 1)
            assert [each["ended"] for each in got] == [0.0] * (len(given) - 1) + [1.0]
            if options["strategy"] == DIRECT:
                assert len({each["place"] for each in got}) == 1, "a sequence keeps its place in the batch"
        assert len({each["pid"] for got in answers for each in got}) == 2
        assert max(each["together"] for got in answers for each in got) > 1, "requests of different sequences are computed together"
        statistics = dataplane.get("adder").statistics
        assert statistics.inference_count == statistics.success.count == sum(map(len, sequences.values())), "fillers are not counted"

    run(plan(init_args, workers=2, **options), scenario)


def test_requests_that_no_sequence_fits_are_refused_with_the_reason() -> None:
    one = np.zeros((1, 1), np.float32)
    begins = SequencePart(1, start=True)

    async def refused(dataplane: DataPlane, reason: str, part: SequencePart | None, **tensors: np.ndarray) -> None:
        request = InferRequest("adder", tensors=tensors, wants_json=False, sequence=part)
        with pytest.raises(InvalidInput, match=reason):
            await dataplane.infer(request)

    async def scenario(dataplane: DataPlane) -> None:
        no_start = "for sequence 5 to model 'adder' must specify the START flag on the first request"
        no_id = "to model 'adder' must specify a non-zero or non-empty correlation ID"
        no_number = "takes sequence ids as uint64: use an integer from 0 to 18446744073709551615, not 'one'"
        await refused(dataplane, no_start, SequencePart(5), x=one)
        await refused(dataplane, no_id, SequencePart(0, start=True), x=one)
        await refused(dataplane, no_id, None, x=one)
        await refused(dataplane, "must specify batch-size 1 .* got 2", begins, x=np.zeros((2, 1), np.float32))
        await refused(dataplane, no_number, SequencePart("one", start=True), x=one)
        await refused(dataplane, r"inputs must be \['x'\]", begins, x=one, READY=np.ones((1, 1), bool))
        assert (await ask(dataplane, 1, 5, start=True))["sum"] == 1.0

    run(plan(), scenario)


def test_a_sequence_begins_again_with_a_new_start_and_ends_with_its_end() -> None:
    async def scenario(dataplane: DataPlane) -> None:
        assert [(await ask(dataplane, each, 9, start=not index))["sum"] for index, each in enumerate([1, 2])] == [1.0, 3.0]
        assert (await ask(dataplane, 5, 9, start=True))["sum"] == 5.0
        assert (await ask(dataplane, 5, 9, end=True))["sum"] == 10.0
        with pytest.raises(InvalidInput, match="START"):
            await ask(dataplane, 1, 9)

    run(plan(), scenario)


def test_an_idle_sequence_gives_its_place_to_one_that_waits() -> None:
    async def scenario(dataplane: DataPlane) -> None:
        await ask(dataplane, 1, 1, start=True)
        assert (await ask(dataplane, 2, "second", start=True))["sum"] == 2.0
        with pytest.raises(InvalidInput, match="START"):
            await ask(dataplane, 1, 1)

    controls = [*CONTROLS[:3], Control("CORRID", CORRELATION_ID, "bytes")]
    run(plan(strategy=OLDEST, slots=1, max_idle_s=0.1, controls=controls), scenario)


def test_an_instance_that_dies_of_a_batch_with_an_empty_place_is_replaced() -> None:
    async def scenario(dataplane: DataPlane) -> None:
        await ask(dataplane, 1, 1, start=True)
        await ask(dataplane, 1, 2, start=True)
        with pytest.raises(InstanceDied, match="begin the sequence again, with the START flag"):
            await asyncio.wait_for(ask(dataplane, float("inf"), 2), 30)
        assert (await asyncio.wait_for(ask(dataplane, 5, 3, start=True), 30))["sum"] == 5.0
        assert dataplane.get("adder").ready

    run(plan({"by": "place"}, strategy=DIRECT), scenario)


def test_what_an_instance_knew_is_lost_with_it_and_said_so_to_whoever_goes_on() -> None:
    async def scenario(dataplane: DataPlane) -> None:
        await ask(dataplane, 1, 1, start=True)
        await ask(dataplane, 1, 2, start=True)
        with pytest.raises(InstanceDied, match="begin the sequence again, with the START flag"):
            await ask(dataplane, float("inf"), 1)
        for _ in range(2):
            with pytest.raises(InstanceDied, match="sequence 2 of model 'adder' was lost: the process that computed it has ended"):
                await again(dataplane, 2)
        while True:
            try:
                answer = await ask(dataplane, 4, 2, start=True)
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                break
        assert answer["sum"] == 4.0
        assert (await ask(dataplane, 1, 2, end=True))["sum"] == 5.0

    async def again(dataplane: DataPlane, name: int) -> None:
        await ask(dataplane, 1, name)

    run(plan({"delay_s": 0.01}), scenario)


@pytest.mark.parametrize("states", [[], [SUM]], ids=["without a state", "with a state"])
def test_a_request_that_fails_does_not_have_others_computed_twice(states: list[State], tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def scenario(dataplane: DataPlane) -> None:
        for name in (1, 2):
            await ask(dataplane, 1, name, start=True)
        gate.touch()
        begun = asyncio.create_task(ask(dataplane, 0, 3, start=True))
        await asyncio.sleep(0.02)
        both = [asyncio.create_task(ask(dataplane, number, name)) for number, name in ((10, 1), (float("nan"), 2))]
        await asyncio.sleep(0.02)
        gate.unlink()  # these two, which wait, are computed together
        answers = await asyncio.gather(*both, return_exceptions=True)
        assert all(isinstance(each, HubError) for each in answers)
        await begun
        assert (await ask(dataplane, 100, 2))["sum"] == 101.0
        assert (await ask(dataplane, 100, 1))["sum"] in ((101.0,) if states else (101.0, 111.0)), "10 is added once at most"

    run(plan({"by": "state" if states else "id", "delay_s": 0.1, "gate": str(gate)}, strategy=OLDEST, slots=4, states=states), scenario)


@pytest.mark.parametrize("begun", [False, True], ids=["new", "begun anew"])
def test_a_sequence_whose_first_request_was_given_up_does_not_go_on_without_it(begun: bool, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def scenario(dataplane: DataPlane) -> None:
        if begun:
            await ask(dataplane, 1, 2, start=True)
        gate.touch()
        busy = asyncio.create_task(ask(dataplane, 1, 1, start=True))
        await asyncio.sleep(0.05)
        first = asyncio.create_task(ask(dataplane, 1, 2, start=True))
        await asyncio.sleep(0)
        second = asyncio.create_task(ask(dataplane, 1, 2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        gate.unlink()
        with pytest.raises(InstanceDied, match="sequence 2 .* its first request was given up"):
            await second
        await busy

    run(plan({"delay_s": 0.3, "gate": str(gate)}), scenario)


def test_the_first_state_can_be_given() -> None:
    state = replace(SUM, initial=np.array([1000], "<f4").tobytes())

    async def scenario(dataplane: DataPlane) -> None:
        answers = await whole(dataplane, 1, [1, 2])
        assert [each["sum"] for each in answers] == [1001.0, 1003.0]
        request = InferRequest(
            "adder", tensors={"x": np.ones((1, 1), np.float32)}, wants_json=False, sequence=SequencePart(2, True), outputs=["sum"]
        )
        assert set((await dataplane.infer(request)).tensors or ()) >= {"sum"}

    run(plan({"by": "state"}, states=[state]), scenario)
