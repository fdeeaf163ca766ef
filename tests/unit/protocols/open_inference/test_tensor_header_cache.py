import gc
import weakref

import numpy as np
import pytest

from hubserve.protocols.open_inference.core.types import InferCall, InputTensor, RequestedOutput
from hubserve.protocols.open_inference.http.tensor_header_cache import TensorHeaderCache

TEXT = memoryview(b'{"inputs": "as far as this test goes"}')


def call(*arrays: np.ndarray | None, binary: bool = True) -> InferCall:
    inputs = [
        InputTensor(f"x{index}", "FP32", () if array is None else array.shape, array, {"binary_data_size": 0} if binary else {})
        for index, array in enumerate(arrays)
    ]
    return InferCall("first", id="7", parameters={"p": 1}, inputs=inputs, outputs=[RequestedOutput("y")])


def test_cached_json_applies_to_other_elements() -> None:
    cache = TensorHeaderCache()
    one, two = np.zeros((1, 3), np.float32), np.zeros((2, 2), np.int16)
    assert cache.read(TEXT, "second", memoryview(bytes(20))) is None
    before = call(one, two)
    cache.add(TEXT, before)
    found = cache.read(TEXT, "second", memoryview(np.arange(3, dtype=np.float32).tobytes() + np.arange(4, dtype=np.int16).tobytes()))
    assert found is not None
    assert (found.model, found.id, found.parameters, found.outputs) == ("second", "7", {"p": 1}, [RequestedOutput("y")])
    assert found.layout is before.layout is not None
    first, second = found.inputs
    assert (first.name, first.shape, second.name, second.shape) == ("x0", (1, 3), "x1", (2, 2))
    assert np.array_equal(first.data, [[0, 1, 2]])
    assert np.array_equal(second.data, [[0, 1], [2, 3]])
    assert second.data is not None
    assert second.data.dtype == np.int16


@pytest.mark.parametrize("size_bytes", [0, 11, 13])
def test_a_body_of_another_length_is_not_answered_from_the_cache(size_bytes: int) -> None:
    cache = TensorHeaderCache()
    cache.add(TEXT, call(np.zeros(3, np.float32)))
    assert cache.read(TEXT, "m", memoryview(bytes(size_bytes))) is None


@pytest.mark.parametrize(
    "unlike",
    [
        pytest.param(call(np.array([b"text"], object)), id="byte strings, each with a length of its own"),
        pytest.param(call(np.zeros(3, np.float32), binary=False), id="elements in the text"),
        pytest.param(call(None), id="elements in shared memory"),
        pytest.param(call(np.zeros((0, 3), np.float32)), id="no elements"),
    ],
)
def test_only_json_of_binary_numbers_is_cached(unlike: InferCall) -> None:
    cache = TensorHeaderCache()
    cache.add(TEXT, unlike)
    assert unlike.layout is None
    assert cache.read(TEXT, "m", memoryview(b"")) is None


def test_neither_long_json_nor_elements_are_cached() -> None:
    cache, array = TensorHeaderCache(), np.zeros(3, np.float32)
    cache.add(memoryview(b" " * 3000), call(array))
    assert cache.read(memoryview(b" " * 3000), "m", memoryview(bytes(12))) is None
    cache.add(TEXT, call(array))
    seen = weakref.ref(array)
    del array
    gc.collect()
    assert seen() is None
