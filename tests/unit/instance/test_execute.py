import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import from_wire
from hubserve.instance.execute import compute
from hubserve.instance.frame_calls import prepare
from hubserve.kinds.base import LoadedModule
from hubserve.kinds.description import Description, Interface
from hubserve.types import ANY, TensorSpec
from hubserve.vision.codecs import encode_picture
from hubserve.wire import frames

POISON = -1.0


class Recorder(LoadedModule):
    """Adds one; refuses any batch with the poison in it; remembers the batches that it was given."""

    description = Description(
        interfaces=[Interface.TENSORS, Interface.JSON],
        inputs=[TensorSpec("x", "float32", (ANY, ANY))],
        outputs=[TensorSpec("y", "float32", (ANY, ANY))],
    )

    def __init__(self) -> None:
        self.batches: list[int] = []

    def call_tensors(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        self.batches.append(len(inputs["x"]))
        if POISON in inputs["x"]:
            raise ValueError("poison")
        return inputs["x"] + 1

    def call_json(self, arguments: dict[str, Any]) -> Any:
        return arguments

    def postprocess(self, outputs: np.ndarray, elapse_s: float) -> Any:
        return outputs


def frame_of(requests: list[np.ndarray]) -> frames.Frame:
    buffers: list[Any] = []
    calls = [{"interface": "tensors", "inputs": frames.pack_arrays({"x": each}, buffers), "answer": "json"} for each in requests]
    return frames.Frame({"calls": calls}, [memoryview(each).cast("B") if each.nbytes else memoryview(b"") for each in buffers])


requests_of_any_kind = st.lists(
    st.tuples(st.integers(1, 5), st.integers(1, 3), st.booleans()).map(
        lambda each: np.full((each[0], each[1]), POISON if each[2] else each[0] * 10 + each[1], np.float32)
    ),
    max_size=12,
)


@given(requests_of_any_kind, st.integers(1, 8))
def test_every_answer_goes_to_its_request_and_only_bad_requests_fail(requests: list[np.ndarray], max_batch_size: int) -> None:
    module = Recorder()
    computed = compute(module, prepare(module, frame_of(requests)), max_batch_size)
    for request, result in zip(requests, computed.results, strict=True):
        assert result is not None
        if POISON in request:
            assert from_wire(result["error"]).message == "poison"
        else:
            assert json.loads(computed.buffers[result["json"]]) == (request + 1).tolist()
    assert all(size <= max_batch_size for size in module.batches)


def test_requests_of_one_shape_are_computed_in_one_call() -> None:
    module = Recorder()
    compute(module, prepare(module, frame_of([np.zeros((2, 3), np.float32)] * 4)), 32)
    assert module.batches == [8]


def test_a_batch_method_that_loses_items_fails_with_the_shape_it_returned() -> None:
    module = Recorder()
    module.call_tensors = lambda inputs: inputs["x"][:-1]  # type: ignore[method-assign]
    (result,) = compute(module, prepare(module, frame_of([np.zeros((3, 1), np.float32)])), 8).results
    assert result is not None
    assert "was given 3 items and returned ndarray of shape [2, 1]" in result["error"]["message"]


def test_an_input_that_does_not_fit_fails_its_own_request_only() -> None:
    module = Recorder()
    good, bad = np.zeros((1, 1), np.float32), np.zeros((1, 1, 1), np.float32)
    results = compute(module, prepare(module, frame_of([good, bad, good])), 8).results
    assert [each is not None and "error" in each for each in results] == [False, True, False]


class Album(LoadedModule):
    """Answers pictures one by one, with the arguments sent beside them."""

    description = Description(interfaces=[Interface.PICTURE])

    def call_pictures(self, pictures: Iterable[np.ndarray], arguments: dict[str, Any]) -> Any:
        return [[int(picture[0, 0, 0]), arguments] for picture in pictures]


def test_pictures_without_a_batch_method_are_answered_request_by_request() -> None:
    good = [encode_picture(np.full((4, 4, 3), value, np.uint8), ".png") for value in (10, 20)]
    buffers = [memoryview(each) for each in (*good, b"no picture", b'{"unit": "px"}')]
    calls = [{"interface": "picture", "pictures": wanted, "answer": "json"} for wanted in ([0, 1], [0, 2], [1])]
    calls[2]["arguments"] = 3
    computed = compute(Album(), prepare(Album(), frames.Frame({"calls": calls}, buffers)), 1)
    first, bad, third = (result or {} for result in computed.results)
    assert json.loads(computed.buffers[first["json"]]) == [[10, {}], [20, {}]]
    assert bad["error"]["message"].startswith("picture 2 of 2: this is not a picture")
    assert json.loads(computed.buffers[third["json"]]) == [[20, {"unit": "px"}]]


def test_pictures_are_decoded_lazily() -> None:
    class First(Album):
        def call_pictures(self, pictures: Iterable[np.ndarray], arguments: dict[str, Any]) -> Any:
            return [len(pictures), *next(iter(pictures)).shape]

    buffers = [memoryview(encode_picture(np.zeros((4, 5, 3), np.uint8), ".png")), memoryview(b"never looked at")]
    frame = frames.Frame({"calls": [{"interface": "picture", "pictures": [0, 1], "answer": "json"}]}, buffers)
    (result,) = compute(First(), prepare(First(), frame), 1).results
    assert "json" in (result or {}), "the length is known all the same"


class Hostile(LoadedModule):
    """Answers with whatever the test puts into ``answer``."""

    description = Recorder.description
    answer: Any = None

    def call_json(self, arguments: dict[str, Any]) -> Any:
        return self.answer

    def call_tensors(self, inputs: dict[str, np.ndarray]) -> Any:
        return self.answer

    def postprocess(self, outputs: Any, elapse_s: float) -> Any:
        return outputs


class Unreadable(BaseException):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class Lazy(dict[str, Any]):
    """A container whose methods raise a BaseException that is not an Exception."""

    def items(self) -> Any:
        raise Unreadable

    def values(self) -> Any:
        raise Unreadable


class Thirsty:
    def __array__(self, *_: Any, **__: Any) -> Any:
        raise MemoryError

    @property
    def shape(self) -> Any:
        raise MemoryError


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


HOSTILE = {
    "nested": deep(5000),
    "lazy": Lazy(a=1),
    "a lazy one inside": {"a": [Lazy(b=1)]},
    "thirsty": Thirsty(),
    "complex": np.array([[1j]]),
    "dates": np.array([["2020-01-01"]], "M8[D]"),
    "objects": np.array([[object()]]),
    "generator": (each for each in [1]),
    "nothing": None,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("interface", ["json", "tensors"])
@pytest.mark.parametrize("answer", ["json", "tensors"])
def test_an_answer_that_cannot_be_encoded_costs_its_own_request_only(name: str, interface: str, answer: str) -> None:
    module = Hostile()
    module.answer = HOSTILE[name]
    buffers: list[Any] = [b"{}"]
    call: dict[str, Any] = {"interface": interface, "arguments": 0, "answer": answer}
    call["inputs"] = frames.pack_arrays({"x": np.zeros((1, 1), np.float32)}, buffers)
    frame = frames.Frame({"calls": [call]}, [memoryview(each).cast("B") for each in buffers])
    computed = compute(module, prepare(module, frame), 8)
    (result,) = computed.results
    assert result is not None
    frames.dump_header(computed.to_header())
    assert "json" in result or from_wire(result["error"]).message


@pytest.mark.parametrize("text", [b"[" * 5000 + b"]" * 5000, b'{"a":', b"\xff", b""])
def test_arguments_that_cannot_be_decoded_cost_their_own_request_only(text: bytes) -> None:
    module = Recorder()
    calls = [{"interface": "json", "arguments": index, "answer": "json"} for index in (0, 1)]
    computed = compute(module, prepare(module, frames.Frame({"calls": calls}, [memoryview(text), memoryview(b'{"a":1}')])), 8)
    bad, good = (result or {} for result in computed.results)
    assert bad["error"]["code"] == "invalid_input"
    assert computed.buffers[good["json"]] == b'{"a":1}'


def test_an_exception_whose_text_is_huge_is_cut() -> None:
    class Wordy(Recorder):
        def call_json(self, arguments: dict[str, Any]) -> Any:
            raise ValueError("x" * 10_000_000)

    frame = frames.Frame({"calls": [{"interface": "json", "arguments": 0, "answer": "json"}]}, [memoryview(b"{}")])
    (result,) = compute(Wordy(), prepare(Wordy(), frame), 8).results
    assert 16_000 < len((result or {})["error"]["message"]) < 20_000
