"""Warm-up: what a module computes before it is ready."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.errors import LoadFailed
from hubserve.instance.warmup import compute_samples
from hubserve.kinds.base import LoadedModule
from hubserve.kinds.description import Description, Interface
from hubserve.types import pack_bytes


class Recorder(LoadedModule):
    """Remembers what it is given."""

    def __init__(self, batched: bool = True) -> None:
        self.description = Description(interfaces=[Interface.TENSORS], max_batch_size=8, batched=batched)
        self.calls: list[dict[str, np.ndarray]] = []

    def call_tensors(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        self.calls.append(inputs)
        if "poison" in inputs:
            raise ValueError("I do not like this")
        return next(iter(inputs.values()))


def of(dtype: str, shape: list[int], data: str, **more: str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data": data, **more}


def test_each_sample_is_computed_as_often_and_as_large_as_it_says(tmp_path: Path) -> None:
    module = Recorder()
    first = {"name": "a", "batch_size": 3, "count": 2, "inputs": {"x": of("float32", [2], "zeros"), "text": of("bytes", [1], "zeros")}}
    second = {"name": "b", "inputs": {"x": of("int64", [4], "zeros")}}
    compute_samples(module, [first, second], tmp_path)
    assert [(call["x"].shape, call["x"].dtype.name) for call in module.calls] == [((3, 2), "float32")] * 2 + [((1, 4), "int64")]
    assert module.calls[0]["text"].tolist() == [[b""]] * 3


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16", "int8", "uint64", "bool", "bytes"])
def test_random_data_are_of_the_datatype_and_differ_from_zeros(tmp_path: Path, dtype: str) -> None:
    module = Recorder(batched=False)
    compute_samples(module, [{"inputs": {"x": of(dtype, [50, 20], "random")}}], tmp_path)
    (call,) = module.calls
    assert call["x"].shape == (50, 20), "no batch dimension is added"
    assert call["x"].dtype.name == {"bfloat16": "uint16", "bytes": "object"}.get(dtype, dtype)
    assert len(set(call["x"].ravel().tolist())) > 1


def test_a_file_holds_one_item_in_binary_form(tmp_path: Path) -> None:
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "numbers").write_bytes(np.arange(3, dtype="<f4").tobytes())
    (tmp_path / "warmup" / "texts").write_bytes(pack_bytes(np.array([b"a", b""], object)))
    module = Recorder()
    inputs = {"x": of("float32", [3], "file", file="numbers"), "t": of("bytes", [2], "file", file="texts")}
    compute_samples(module, [{"batch_size": 2, "inputs": inputs}], tmp_path)
    assert module.calls[0]["x"].tolist() == [[0, 1, 2]] * 2
    assert module.calls[0]["t"].tolist() == [[b"a", b""]] * 2


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"poison": of("float32", [1], "zeros")}, "I do not like this"),
        ({"x": of("float32", [1], "file", file="absent")}, "cannot be read: No such file"),
        ({"x": of("float32", [1], "file", file="../secret")}, "is outside"),
        ({"x": of("float32", [1], "file", file="/etc/hostname")}, "is outside"),
        ({"x": of("float32", [2], "file", file="short")}, "needs 8 bytes, but 3 came"),
        ({"x": of("float32", [-1, 3], "zeros")}, "must consist of integers"),
    ],
)
def test_a_sample_that_cannot_be_computed_fails_the_load_with_its_name(tmp_path: Path, inputs: dict[str, Any], reason: str) -> None:
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "short").write_bytes(b"abc")
    with pytest.raises(LoadFailed, match=f"'early'.*{reason}"):
        compute_samples(Recorder(), [{"name": "early", "inputs": inputs}], tmp_path)
