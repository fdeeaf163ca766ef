"""ONNX models whose signatures are less usual than a classifier's."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def _save(path: Path, nodes: list, inputs: list, outputs: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    declared = [[helper.make_tensor_value_info(*each) for each in side] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, "toy", *declared)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
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
    return _save(path, [axis, *nodes], inputs, [("masked", FLOAT, ["batch", "length"]), ("total", FLOAT, ["batch"])])


def recurrent(path: Path) -> Path:
    """A state whose first dimension counts layers, and a rate that has no dimension."""
    nodes = [helper.make_node("Mul", ["state", "rate"], ["next"]), helper.make_node("ReduceMax", ["next"], ["peak"], keepdims=0)]
    inputs = [("state", FLOAT, [2, "batch", 3]), ("rate", FLOAT, [])]
    return _save(path, nodes, inputs, [("next", FLOAT, [2, "batch", 3]), ("peak", FLOAT, [])])


def sequence(path: Path) -> Path:
    """Its signature looks as if the first dimension counted items, but each answer is the item's share of them all."""
    return _save(path, [helper.make_node("Softmax", ["x"], ["share"], axis=0)], [("x", FLOAT, ["n", 2])], [("share", FLOAT, ["n", 2])])
