"""Encode batches as frames in the gateway, and compute them as an instance does."""

import asyncio
import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import from_wire
from hubserve.gateway.instances.dispatcher import _encode_batch
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.instance.execute import compute
from hubserve.instance.frame_calls import prepare
from hubserve.instance.frame_results import FrameResults
from hubserve.kinds.base import LoadedModule
from hubserve.kinds.description import Description, Interface
from hubserve.types import ANY, TensorSpec
from hubserve.wire import frames
from hubserve.wire.frames import pack_arrays, unpack_arrays

POISON = -1.0
LIMIT = 8
LOOP = asyncio.new_event_loop()  # runs nothing: futures need one


class TwoInputs(LoadedModule):
    """Adds its inputs; refuses any batch with the poison in it."""

    description = Description(
        interfaces=[Interface.TENSORS, Interface.JSON],
        inputs=[TensorSpec("a", "float32", (ANY, 2)), TensorSpec("b", "int32", (ANY,))],
        outputs=[TensorSpec("y", "float32", (ANY, 2))],
    )

    def __init__(self) -> None:
        self.calls: list[int] = []

    def call_tensors(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        self.calls.append(len(inputs["a"]))
        if POISON in inputs["a"]:
            raise ValueError("poison")
        return np.asarray(inputs["a"] + inputs["b"][:, None], np.float32)

    def postprocess(self, outputs: Any, elapse_s: float) -> Any:
        return outputs


def work_of(a: np.ndarray, b: np.ndarray, answer: str) -> QueuedRequest:
    buffers: list[Any] = []
    call = {"interface": Interface.TENSORS, "inputs": pack_arrays({"a": a, "b": b}, buffers), "answer": answer}
    return QueuedRequest(call, buffers, len(a), "form", asyncio.Future(loop=LOOP))


def computed_from(batch: list[QueuedRequest], call_sizes: list[int], module: LoadedModule) -> FrameResults:
    """Through the wire and back."""
    header, buffers = _encode_batch(batch)
    raw = b"".join(bytes(piece) for piece in frames.encode({**header, "call_sizes": call_sizes}, buffers))
    header_bytes, _ = frames.decode_head(raw[: frames.HEAD.size])
    return compute(module, prepare(module, frames.decode_body(memoryview(raw)[frames.HEAD.size :], header_bytes)), LIMIT)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.sampled_from([Interface.JSON, Interface.TENSORS])), min_size=1, max_size=10),
    st.data(),
)
def test_every_request_gets_its_own_share_of_any_batch(shapes: list[tuple[int, bool, str]], data: st.DataObject) -> None:
    start, batch, expected = 0, [], []
    for count, is_bad, answer in shapes:
        a = np.arange(start, start + 2 * count, dtype=np.float32).reshape(count, 2)
        start += 2 * count
        if is_bad:
            a[0, 0] = POISON
        b = np.full(count, start, np.int32)
        batch.append(work_of(a, b, answer))
        expected.append(None if is_bad else a + b[:, None])
    total, sizes = sum(work.count for work in batch), []
    while sum(sizes) < total and data.draw(st.booleans()):
        sizes.append(data.draw(st.integers(1, min(LIMIT, total - sum(sizes)))))
    module = TwoInputs()
    computed = computed_from(batch, sizes, module)
    for result, want, (_, _, answer) in zip(computed.results, expected, shapes, strict=True):
        assert result is not None
        if want is None:
            assert from_wire(result["error"]).message == "poison"
        elif answer == Interface.JSON:
            assert json.loads(computed.buffers[result["json"]]) == want.tolist()
        else:
            buffers = [memoryview(np.ascontiguousarray(each)).cast("B") for each in computed.buffers]
            assert np.array_equal(unpack_arrays(result["outputs"], buffers)["y"], want)
    assert all(size <= LIMIT for size in module.calls)
    if sum(sizes) == total and all(each is not None for each in expected):
        assert module.calls == sizes, "the gateway says how the items are divided"


def test_arrays_that_do_not_fit_are_refused_and_nothing_is_computed() -> None:
    module = TwoInputs()
    computed = computed_from([work_of(np.zeros((1, 3), np.float32), np.zeros(1, np.int32), Interface.JSON)], [1], module)
    assert "must have shape [-1, 2]" in from_wire(computed.results[0]["error"]).message  # type: ignore[index]
    assert module.calls == []
