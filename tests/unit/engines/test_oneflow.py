"""OneFlow's engine as far as it works without OneFlow: reading folders, choosing batch sizes, and reasons."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hubserve.engines import load_engine
from hubserve.engines.base import ModelFiles
from hubserve.engines.oneflow import cheapest, sizes_for
from hubserve.engines.oneflow_graph import read_weights
from hubserve.engines.oneflow_job import Port, Ports, place_in_call, shapes_of
from hubserve.engines.oneflow_trial import death
from hubserve.engines.subprocess_call import ChildFailed
from hubserve.errors import LoadFailed
from hubserve.types import TensorSpec

LINE = (
    '    %0 = "oneflow.reshape"(%output) {device_name = ["@0:0"], device_tag = "cpu", hierarchy = [1], op_name = "model-reshape-0", '
    "scope_symbol_id = 21 : i64, shape = [1 : si64, 6 : si64]} : (tensor<1x2x3xf32>) -> tensor<1x6xf32>\n"
)
SPLIT = (
    '    %1:2 = "oneflow.split"(%0, %1) {op_name = "model-split-1"} : '
    "(tensor<4x6xf32>, tensor<si64>) -> (tensor<4x2xf32>, tensor<4x4xf16>)\n"
)


@pytest.mark.parametrize(
    ("own", "largest", "sizes"),
    [(1, 8, [1, 4, 8]), (1, 32, [1, 4, 32]), (1, 4, [1, 4]), (1, 1, [1, 4, 8]), (4, 32, [1, 4, 32]), (1, 64, [1, 8, 64])],
)
def test_few_sizes_are_compiled(own: int, largest: int, sizes: list[int]) -> None:
    assert sizes_for(own, largest) == sizes


@pytest.mark.parametrize(
    ("costs", "count", "parts"),
    [
        ({1: 1.0, 8: 8.1}, 7, [1] * 7),  # a CPU: nothing is gained by batches
        ({1: 1.0, 8: 1.2}, 7, [8]),  # a GPU
        ({1: 1.0, 8: 1.2}, 1, [1]),
        ({1: 1.0, 4: 2.5, 8: 6.0}, 6, [4, 1, 1]),
        ({1: 1.0, 4: 2.5, 8: 6.0}, 7, [4, 4]),
        ({8: 3.0}, 9, [8, 8]),
    ],
)
def test_a_batch_is_computed_by_the_cheapest_sizes(costs: dict[int, float], count: int, parts: list[int]) -> None:
    assert cheapest(costs, count) == parts


def test_shapes_are_read_from_the_text() -> None:
    assert shapes_of(LINE + SPLIT) == {
        "model-reshape-0": ([(1, 2, 3)], [(1, 6)]),
        "model-split-1": ([(4, 6), ()], [(4, 2), (4, 4)]),
    }


def test_inputs_and_outputs_are_in_the_order_of_the_call() -> None:
    names = ["_G_1_output.0.0.10_14", "_G_1_output.0.0.2.1_7", "_G_1_output.0.0.1_4", "_G_1_output.0.0.2.0_6"]
    operators = [SimpleNamespace(name=name) for name in names]
    assert [each.name for each in sorted(operators, key=place_in_call)] == [names[2], names[3], names[1], names[0]]


def test_a_graph_has_a_batch_if_all_tensors_share_their_first_length() -> None:
    def port(*shape: int) -> Port:
        return Port("", TensorSpec("", "float32", shape))

    assert Ports([port(2, 3)], [port(2)], []).batch == 2
    assert Ports([port(2, 3)], [port(3)], []).batch is None
    assert Ports([port(2, 3), port()], [port(2)], []).batch is None


def variable(folder: Path, name: str, values: np.ndarray) -> Port:
    (folder / name).mkdir()
    values.tofile(str(folder / name / "out"))
    return Port(name, TensorSpec(name, str(values.dtype), values.shape))


def test_weights_are_read_and_checked(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float16).reshape(2, 3)
    port = variable(tmp_path, "model.weight", values)
    np.testing.assert_array_equal(read_weights(tmp_path, [port])["model.weight"], values)
    (tmp_path / "model.weight" / "out").write_bytes(values.tobytes()[:-1])
    with pytest.raises(LoadFailed, match=r"has 11 bytes, and float16 of shape \[2, 3\] needs 12: it was cut short"):
        read_weights(tmp_path, [port])
    for name in ("model.bias", "../outside", "/etc"):
        with pytest.raises(LoadFailed, match="weights of .* are missing .* Copy the whole folder"):
            read_weights(tmp_path, [Port(name, port.spec)])


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            'W2026 x.cpp:48] CUDA\nloc("/m/model.mlir":5:191): error: expected attribute value\nfail to parse file\n',
            "expected attribute value",
        ),
        ("F20261130 01:01:01.0 1 op.cpp:12] Check failed: a == b (1 vs. 2) \n*** Check failure stack trace: ***", "Check failed: a == b"),
        ("\x1b[1mError\x1b[0m: something\n", "something"),
        ("", "its process was ended by signal 6"),
    ],
)
def test_the_last_words_of_a_process_are_its_reason(said: str, reason: str) -> None:
    assert reason in death(ChildFailed("its process was ended by signal 6", said))
    assert "\x1b" not in death(ChildFailed("its process was ended by signal 6", said))


def test_a_folder_without_a_graph_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"unable to find '.*model.mlir': .* the folder that flow.save"):
        load_engine(ModelFiles(tmp_path, None), "oneflow")
