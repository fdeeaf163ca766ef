"""Model repositories of small models, written into a folder of a test's own."""

from pathlib import Path

from onnx import TensorProto, helper

from tests.onnx_models import save_graph

FLOAT = TensorProto.FLOAT


def scale(path: Path, factor: float = 2.0, dtype: int = FLOAT, length: "int | str" = 4, batch: "int | str" = "n") -> Path:
    """An ONNX file that multiplies: ``x`` [n, 4] -> ``y`` [n, 4]."""
    constant = helper.make_node("Constant", [], ["factor"], value=helper.make_tensor("", dtype, [1], [factor]))
    nodes = [constant, helper.make_node("Mul", ["x", "factor"], ["y"])]
    return save_graph(path, nodes, [("x", dtype, [batch, length])], [("y", dtype, [batch, length])])


def add(path: Path) -> Path:
    """An ONNX file that adds: ``a`` and ``b`` [n, 4] -> ``sum`` [n, 4]."""
    inputs = [("a", FLOAT, ["n", 4]), ("b", FLOAT, ["n", 4])]
    return save_graph(path, [helper.make_node("Add", ["a", "b"], ["sum"])], inputs, [("sum", FLOAT, ["n", 4])])


def total(path: Path) -> Path:
    """An ONNX file that adds up a sequence: ``x``, ``START`` (1 for the first) and ``SUM`` [n, 1] -> ``y`` and ``NEXT_SUM`` [n, 1]."""
    nodes = [
        helper.make_node("Constant", [], ["one"], value=helper.make_tensor("", FLOAT, [1], [1.0])),
        helper.make_node("Sub", ["one", "START"], ["goes_on"]),
        helper.make_node("Mul", ["SUM", "goes_on"], ["kept"]),
        helper.make_node("Add", ["x", "kept"], ["NEXT_SUM"]),
        helper.make_node("Identity", ["NEXT_SUM"], ["y"]),
    ]
    names = [(name, FLOAT, ["n", 1]) for name in ("x", "START", "SUM")]
    return save_graph(path, nodes, names, [(name, FLOAT, ["n", 1]) for name in ("y", "NEXT_SUM")])


def tensor(name: str, dims: "list[int]", data_type: str = "TYPE_FP32", more: str = "") -> str:
    return f'{{ name: "{name}" data_type: {data_type} dims: {dims} {more} }}'


SCALE = f"max_batch_size: 8 input [ {tensor('x', [4])} ] output [ {tensor('y', [4])} ]"


def write_scale(store: Path, name: str, config: "str | None" = SCALE, factor: float = 2.0, versions: "tuple[int, ...]" = (1,)) -> Path:
    """A model that multiplies by ``factor`` times the version's number; without a configuration where that is None."""
    for version in versions:
        scale(store / name / str(version) / "model.onnx", factor * version)
    if config is not None:
        (store / name / "config.pbtxt").write_text(f'name: "{name}" backend: "onnxruntime" {config}')
    return store / name
