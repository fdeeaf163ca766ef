"""What a model is given besides what its clients send: what it is told of a request's sequence, and its state."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from hubserve.errors import InvalidInput
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.gateway.scheduling.sequence_plan import CORRELATION_ID, END, START, Control, SequencePlan, State
from hubserve.types import BFLOAT16, BYTES, SequencePart, array_from_bytes
from hubserve.wire.frames import Frame, pack_arrays, unpack_arrays

States = dict[str, np.ndarray]


def check_id(controls: Sequence[Control], part: SequencePart) -> None:
    """Check that the model can be told a sequence's id.

    Raises:
        InvalidInput: the model takes numbers, and it is none or too large.
    """
    for control in controls:
        if control.kind != CORRELATION_ID or control.dtype == BYTES:
            continue
        most = np.iinfo(control.dtype).max
        if not isinstance(part.id, int) or not 0 <= part.id <= most:
            raise InvalidInput(
                f"the model takes sequence ids as {control.dtype}: use a whole number of up to {most}, not '{str(part.id)[:60]}'"
            )


def control_inputs(controls: Sequence[Control], part: SequencePart | None, batched: bool) -> dict[str, np.ndarray]:
    """What tells the model of a request.

    Args:
        controls: what the model takes.
        part: what it is part of; None for a place in a batch without a request.
        batched: whether the model's arrays have a batch dimension.
    """
    shape = (1, 1) if batched else (1,)
    return {each.name: _control(each, part, shape) for each in controls}


def _control(control: Control, part: SequencePart | None, shape: tuple[int, ...]) -> np.ndarray:
    if control.kind == CORRELATION_ID:
        number: Any = part.id if part else 0
        return (
            np.full(shape, str(number).encode() if part else b"", object)
            if control.dtype == BYTES
            else np.full(shape, number, control.dtype)
        )
    if control.kind == START:
        holds = part is not None and part.start
    elif control.kind == END:
        holds = part is not None and part.end
    else:
        holds = part is not None
    return np.full(shape, control.true if holds else control.false, control.dtype)


def equip(work: QueuedRequest, states: States, plan: SequencePlan, batched: bool) -> States:
    """Put what the model is told, and its state, to what the client sent, unless it is there.

    Args:
        work: the next request of a sequence.
        states: what the one before left.
        plan: what the model takes.
        batched: as :func:`control_inputs` has it.
    Returns:
        The states that the model is given.
    """
    if work.has_controls or work.part is None:
        return states
    work.has_controls = True
    if work.part.start:
        states = first_states(plan, batched)
    extra = {**control_inputs(plan.controls, work.part, batched), **states}
    if extra:
        work.buffers = list(work.buffers)
        work.call = {**work.call, "inputs": [*work.call["inputs"], *pack_arrays(extra, work.buffers)]}
    if work.key is not None and states:
        work.key = (work.key, tuple((name, *array.shape) for name, array in states.items()))
    return states


def tell(work: QueuedRequest, plan: SequencePlan, batched: bool) -> None:
    """Tell the model of a request that it is given once more; its :attr:`QueuedRequest.part` has changed since :func:`equip`."""
    controls = control_inputs(plan.controls, work.part, batched)
    if not (controls and work.has_controls):
        return
    buffers = work.buffers[: -len(controls)]
    work.call = {**work.call, "inputs": [*work.call["inputs"][: -len(controls)], *pack_arrays(controls, buffers)]}
    work.buffers = buffers


def filler(sample: QueuedRequest, plan: SequencePlan, batched: bool) -> QueuedRequest:
    """What stands at a place of a batch without a request: as large as one, and the model is told that it is none.

    Args:
        sample: a request of the batch, has_controls.
        plan: what the model takes.
        batched: as :func:`control_inputs` has it.
    """
    controls = control_inputs(plan.controls, None, batched)
    inputs: list[dict[str, Any]] = []
    buffers: list[Any] = []
    for described, buffer in zip(sample.call["inputs"], sample.buffers, strict=True):
        if described["name"] in controls:
            inputs += pack_arrays({described["name"]: controls[described["name"]]}, buffers)
        else:
            inputs.append({**described, "buffer": len(buffers)})
            buffers.append(buffer)
    answer = asyncio.get_running_loop().create_future()
    answer.add_done_callback(_ignore)
    return QueuedRequest({**sample.call, "inputs": inputs}, buffers, sample.count, sample.key, answer, once=True, filler=True)


def _ignore(answer: "asyncio.Future[Any]") -> None:
    """Nobody waits for it: that it failed is no news."""
    if not answer.cancelled():
        answer.exception()


def first_states(plan: SequencePlan, batched: bool) -> States:
    """The states with which a sequence begins, by the name of the model's input."""
    return {each.input_name: _first(each)[np.newaxis] if batched else _first(each) for each in plan.states}


def _first(state: State) -> np.ndarray:
    shape = [abs(length) for length in state.shape]
    if state.initial is not None:
        return array_from_bytes(state.initial, state.dtype, shape)
    if state.dtype == BYTES:
        return np.full(shape, b"", object)
    return np.zeros(shape, "uint16" if state.dtype == BFLOAT16 else state.dtype)


def next_states(plan: SequencePlan, result: dict[str, Any], frame: Frame) -> States | None:
    """The states that one request's result leaves; None if the model did not give them all.

    Args:
        plan: says which.
        result: one of a ``results`` frame.
        frame: that frame.
    """
    described = {each["name"]: each for each in result.get("outputs", ())}
    if any(each.output_name not in described for each in plan.states):
        return None
    given = unpack_arrays([described[each.output_name] for each in plan.states], frame.buffers)
    # copies: the frame's memory is used again
    return {each.input_name: given[each.output_name].copy() for each in plan.states}
