"""Inputs that the gateway adds to requests of sequences: controls that describe the sequence, and states that the model keeps."""

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
    """Check that a sequence's ID fits the model's correlation ID input.

    Raises:
        InvalidInput: the model takes numbers, and the ID is not a number or too large.
    """
    for control in controls:
        if control.kind != CORRELATION_ID or control.dtype == BYTES:
            continue
        most = np.iinfo(control.dtype).max
        if not isinstance(part.id, int) or not 0 <= part.id <= most:
            raise InvalidInput(
                f"the model takes sequence ids as {control.dtype}: use an integer from 0 to {most}, not '{str(part.id)[:60]}'"
            )


def control_inputs(controls: Sequence[Control], part: SequencePart | None, batched: bool) -> dict[str, np.ndarray]:
    """Return the control inputs of a request, by name.

    Args:
        controls: those that the model takes.
        part: the request's part of its sequence; None for a filler.
        batched: whether the model's arrays have a batch dimension.
    """
    shape = (1, 1) if batched else (1,)
    return {each.name: _control_input(each, part, shape) for each in controls}


def _control_input(control: Control, part: SequencePart | None, shape: tuple[int, ...]) -> np.ndarray:
    if control.kind == CORRELATION_ID:
        number: Any = part.id if part else 0
        return (
            np.full(shape, str(number).encode() if part else b"", object)
            if control.dtype == BYTES
            else np.full(shape, number, control.dtype)
        )
    if control.kind == START:
        is_true = part is not None and part.start
    elif control.kind == END:
        is_true = part is not None and part.end
    else:
        is_true = part is not None
    return np.full(shape, control.true if is_true else control.false, control.dtype)


def add_controls(request: QueuedRequest, states: States, plan: SequencePlan, batched: bool) -> States:
    """Add control inputs and states to the next request of a sequence, unless it has them already.

    Args:
        request: the request.
        states: those that the request before it left.
        plan: the controls and states that the model takes.
        batched: as for :func:`control_inputs`.
    Returns:
        The states that the model is given.
    """
    if request.has_controls or request.part is None:
        return states
    request.has_controls = True
    if request.part.start:
        states = initial_states(plan, batched)
    extra = {**control_inputs(plan.controls, request.part, batched), **states}
    if extra:
        request.buffers = list(request.buffers)
        request.call = {**request.call, "inputs": [*request.call["inputs"], *pack_arrays(extra, request.buffers)]}
    if request.key is not None and states:
        request.key = (request.key, tuple((name, *array.shape) for name, array in states.items()))
    return states


def update_controls(request: QueuedRequest, plan: SequencePlan, batched: bool) -> None:
    """Replace the control inputs of a request whose :attr:`QueuedRequest.part` has changed since :func:`add_controls`."""
    controls = control_inputs(plan.controls, request.part, batched)
    if not (controls and request.has_controls):
        return
    buffers = request.buffers[: -len(controls)]
    request.call = {**request.call, "inputs": [*request.call["inputs"][: -len(controls)], *pack_arrays(controls, buffers)]}
    request.buffers = buffers


def filler(sample: QueuedRequest, plan: SequencePlan, batched: bool) -> QueuedRequest:
    """Return a filler for a free slot: a request of the same shapes, whose control inputs say that there is no request.

    Args:
        sample: a request of the batch, with its control inputs.
        plan: the controls that the model takes.
        batched: as for :func:`control_inputs`.
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
    answer.add_done_callback(_ignore_error)
    return QueuedRequest({**sample.call, "inputs": inputs}, buffers, sample.count, sample.key, answer, once=True, filler=True)


def _ignore_error(answer: "asyncio.Future[Any]") -> None:
    """Retrieve a filler's exception, which asyncio would log otherwise."""
    if not answer.cancelled():
        answer.exception()


def initial_states(plan: SequencePlan, batched: bool) -> States:
    """Return the states with which a sequence begins, by the name of the model's input."""
    return {each.input_name: _initial(each)[np.newaxis] if batched else _initial(each) for each in plan.states}


def _initial(state: State) -> np.ndarray:
    shape = [abs(length) for length in state.shape]
    if state.initial is not None:
        return array_from_bytes(state.initial, state.dtype, shape)
    if state.dtype == BYTES:
        return np.full(shape, b"", object)
    return np.zeros(shape, "uint16" if state.dtype == BFLOAT16 else state.dtype)


def next_states(plan: SequencePlan, result: dict[str, Any], frame: Frame) -> States | None:
    """Return the states that a request's result leaves, by the name of the model's input; None if the model did not return all of them.

    Args:
        plan: the states that the model keeps.
        result: one of a ``results`` frame.
        frame: that frame.
    """
    described = {each["name"]: each for each in result.get("outputs", ())}
    if any(each.output_name not in described for each in plan.states):
        return None
    outputs = unpack_arrays([described[each.output_name] for each in plan.states], frame.buffers)
    # copied, because the frame's memory is reused
    return {each.input_name: outputs[each.output_name].copy() for each in plan.states}
