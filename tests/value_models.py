"""ONNX models of texts, sequences, maps, optional values and unusual numbers, as converters of classical models write them."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

FLOAT, INT64, STRING, BFLOAT16, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING, TensorProto.BFLOAT16, TensorProto.BOOL
_ML = "ai.onnx.ml"


def _tensor(name: str, dtype: int, dims: "list | None") -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, dims)


def _typed(name: str, kind: onnx.TypeProto) -> onnx.ValueInfoProto:
    return helper.make_value_info(name, kind)


def write(path: Path, nodes: list, inputs: list, outputs: list, constants: "list | None" = None, opset: int = 17, ir: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(nodes, "toy", inputs, outputs, constants or [])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(_ML, 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=ir), str(path))
    return path


def twice(path: Path, **versions: int) -> Path:
    """``x`` [n, 2] -> ``y``, twice as much."""
    return write(
        path, [helper.make_node("Add", ["x", "x"], ["y"])], [_tensor("x", FLOAT, ["n", 2])], [_tensor("y", FLOAT, ["n", 2])], **versions
    )


def spam(path: Path) -> Path:
    """A pipeline for texts: ``text`` [n, 1] -> ``label`` [n], a text, and ``probabilities``, a map from class to score for each item."""
    nodes = [
        helper.make_node("StringNormalizer", ["flat"], ["lower"], case_change_action="LOWER", locale="C"),
        helper.make_node(
            "LabelEncoder", ["lower"], ["number"], domain=_ML, keys_strings=["win", "hello"], values_floats=[2.0, -2.0], default_float=0.0
        ),
        helper.make_node("Reshape", ["number", "column"], ["score"]),
        helper.make_node("Mul", ["score", "signs"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["shares"], axis=1),
        helper.make_node("ZipMap", ["shares"], ["probabilities"], domain=_ML, classlabels_strings=["ham", "spam"]),
        helper.make_node("ArgMax", ["shares"], ["best"], axis=1, keepdims=0),
        helper.make_node("LabelEncoder", ["best"], ["label"], domain=_ML, keys_int64s=[0, 1], values_strings=["ham", "spam"]),
    ]
    constants = [
        helper.make_tensor("one", INT64, [1], [-1]),
        helper.make_tensor("column", INT64, [2], [-1, 1]),
        helper.make_tensor("signs", FLOAT, [1, 2], [-1.0, 1.0]),
    ]
    score = helper.make_tensor_type_proto(FLOAT, None)
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(STRING, score))
    flat = helper.make_node("Reshape", ["text", "one"], ["flat"])
    outputs = [_tensor("label", STRING, ["n"]), _typed("probabilities", maps)]
    return write(path, [flat, *nodes], [_tensor("text", STRING, ["n", 1])], outputs, constants)


def flower(path: Path) -> Path:
    """Numbers to classes: ``x`` [n, 3] -> ``label`` [n] and ``probabilities``, whose maps have whole numbers as keys."""
    nodes = [
        helper.make_node("Softmax", ["x"], ["shares"], axis=1),
        helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
        helper.make_node("ZipMap", ["shares"], ["probabilities"], domain=_ML, classlabels_int64s=[10, 20, 30]),
    ]
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, None)))
    return write(path, nodes, [_tensor("x", FLOAT, ["n", 3])], [_tensor("label", INT64, ["n"]), _typed("probabilities", maps)])


def echo(path: Path, dtype: int = STRING, dims: "tuple | None" = ("n", "k")) -> Path:
    """``x`` -> ``y``, the same."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    shape = None if dims is None else list(dims)
    return write(path, nodes, [_tensor("x", dtype, shape)], [_tensor("y", dtype, shape)], opset=21, ir=10)


def widened(path: Path) -> Path:
    """bfloat16 ``x`` [n, 2] -> ``wide``, the same as float32, and ``y``, the same again."""
    nodes = [helper.make_node("Cast", ["x"], ["wide"], to=FLOAT), helper.make_node("Cast", ["wide"], ["y"], to=BFLOAT16)]
    outputs = [_tensor("wide", FLOAT, ["n", 2]), _tensor("y", BFLOAT16, ["n", 2])]
    return write(path, nodes, [_tensor("x", BFLOAT16, ["n", 2])], outputs)


def pieces(path: Path) -> Path:
    """A list of arrays and one more -> the longer list, and how long it is: no tensors but the last."""
    rows = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    nodes = [helper.make_node("SequenceInsert", ["rows", "row"], ["longer"]), helper.make_node("SequenceLength", ["longer"], ["count"])]
    return write(path, nodes, [_typed("rows", rows), _tensor("row", FLOAT, ["k"])], [_typed("longer", rows), _tensor("count", INT64, [])])


def split(path: Path) -> Path:
    """``x`` [n, 2] -> a list of its rows, and ``y``, twice as much."""
    rows = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    nodes = [helper.make_node("SplitToSequence", ["x"], ["rows"], axis=0), helper.make_node("Add", ["x", "x"], ["y"])]
    return write(path, nodes, [_tensor("x", FLOAT, ["n", 2])], [_typed("rows", rows), _tensor("y", FLOAT, ["n", 2])])


def maybe(path: Path) -> Path:
    """Return whether an optional tensor is present."""
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [2]))
    return write(
        path, [helper.make_node("OptionalHasElement", ["extra"], ["y"])], [_typed("extra", kind)], [_tensor("y", BOOL, [])], opset=18
    )


def constant(path: Path) -> Path:
    """No inputs -> ``y`` [2, 3], from 1 to 6."""
    values = helper.make_tensor("", FLOAT, [2, 3], [1, 2, 3, 4, 5, 6])
    return write(path, [helper.make_node("Constant", [], ["y"], value=values)], [], [_tensor("y", FLOAT, [2, 3])])


def default_weights(path: Path) -> Path:
    """``x`` [n, 2] and ``w``, which older exporters declare as an input, too, and which has a value -> ``y``, their product."""
    inputs = [_tensor("x", FLOAT, ["n", 2]), _tensor("w", FLOAT, [2])]
    weights = helper.make_tensor("w", FLOAT, [2], [2.0, 3.0])
    return write(path, [helper.make_node("Mul", ["x", "w"], ["y"])], inputs, [_tensor("y", FLOAT, ["n", 2])], [weights])


def outside(path: Path, location: str) -> Path:
    """``x`` [n, 2] -> ``y``, ``x`` times weights [2, 3] that are in another file, which this does not write."""
    weights = helper.make_tensor("w", FLOAT, [2], [0.0, 0.0])
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    return write(path, nodes, [_tensor("x", FLOAT, ["n", 2])], [_tensor("y", FLOAT, ["n", 2])], [weights])


def unknown_operator(path: Path) -> Path:
    """It needs an operator that no engine has."""
    nodes = [helper.make_node("Sorcery", ["x"], ["y"], domain=_ML)]
    return write(path, nodes, [_tensor("x", FLOAT, ["n"])], [_tensor("y", FLOAT, ["n"])])


def joined(path: Path) -> Path:
    """Two inputs whose second lengths must be equal, which their shapes do not tell."""
    inputs = [_tensor("a", FLOAT, ["n", "p"]), _tensor("b", FLOAT, ["n", "q"])]
    return write(path, [helper.make_node("Add", ["a", "b"], ["y"])], inputs, [_tensor("y", FLOAT, ["n", "r"])])
