"""ONNX models whose signatures are less usual than a classifier's."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def save_graph(path: Path, nodes: list, inputs: list, outputs: list, opset: int = 17) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    declared = [[helper.make_tensor_value_info(*each) for each in side] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, "toy", *declared)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), str(path))
    return path


def two_inputs(path: Path) -> Path:
    """Integers times a mask of the same length, and their sum for each item: two inputs, two outputs, lengths left open."""
    nodes = [
        helper.make_node("Cast", ["ids"], ["floats"], to=FLOAT),
        helper.make_node("Mul", ["floats", "mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "axis"], ["total"], keepdims=0),
    ]
    inputs = [("ids", INT64, ["batch", "length"]), ("mask", FLOAT, ["batch", "length"])]
    axis = helper.make_node("Constant", [], ["axis"], value=helper.make_tensor("", INT64, [1], [1]))
    return save_graph(path, [axis, *nodes], inputs, [("masked", FLOAT, ["batch", "length"]), ("total", FLOAT, ["batch"])])


def recurrent(path: Path) -> Path:
    """A state whose first dimension counts layers, and a rate that has no dimension."""
    nodes = [helper.make_node("Mul", ["state", "rate"], ["next"]), helper.make_node("ReduceMax", ["next"], ["peak"], keepdims=0)]
    inputs = [("state", FLOAT, [2, "batch", 3]), ("rate", FLOAT, [])]
    return save_graph(path, nodes, inputs, [("next", FLOAT, [2, "batch", 3]), ("peak", FLOAT, [])])


def sequence(path: Path) -> Path:
    """Its signature looks as if the first dimension counted items, but each answer is the item's share of them all."""
    return save_graph(path, [helper.make_node("Softmax", ["x"], ["share"], axis=0)], [("x", FLOAT, ["n", 2])], [("share", FLOAT, ["n", 2])])


def only_one(path: Path) -> Path:
    """Its shapes tell of any number of items, and it computes one."""
    reshape = helper.make_node("Reshape", ["x", "shape"], ["y"])
    return save_graph(path, [*_hidden_shape(), reshape], [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["m", 4])])


def _hidden_shape() -> list:
    """Nodes that make ``shape``, which is always [1, 4], in a way that no engine sees through before it runs."""
    return [
        helper.make_node("Constant", [], ["zero"], value=helper.make_tensor("", FLOAT, [], [0])),
        helper.make_node("Constant", [], ["one_by_four"], value=helper.make_tensor("", INT64, [2], [1, 4])),
        helper.make_node("Mul", ["x", "zero"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["nothing"], to=INT64),
        helper.make_node("Add", ["one_by_four", "nothing"], ["shape"]),
    ]


def fives(path: Path) -> Path:
    """It takes lengths that divide by 5, which its shapes do not tell."""
    shape = helper.make_node("Constant", [], ["shape"], value=helper.make_tensor("", INT64, [3], [0, -1, 5]))
    reshape = helper.make_node("Reshape", ["x", "shape"], ["y"])
    return save_graph(path, [shape, reshape], [("x", FLOAT, ["n", "length"])], [("y", FLOAT, ["n", "m", 5])])


def total(path: Path) -> Path:
    """It gives one answer, however many items it is given."""
    nodes = [helper.make_node("ReduceMax", ["x"], ["most"], axes=[0], keepdims=1), helper.make_node("Reshape", ["most", "shape"], ["y"])]
    return save_graph(path, [*_hidden_shape(), *nodes], [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["m", 4])])
