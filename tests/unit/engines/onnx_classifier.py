"""An ONNX model made without any of the engines under test, and what it must answer."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_WEIGHT = np.random.default_rng(7).normal(0, 0.02, (3 * 32 * 32, 10)).astype("float32")


def write(path: Path, batch: "int | str" = "batch", height: "int | str" = 32) -> Path:
    """Write a linear classifier of float32 pictures [-1, 3, 32, 32] into ten classes; a name leaves a length open."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, height, 32])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 10])],
        [numpy_helper.from_array(_WEIGHT, "weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def expected(pictures: np.ndarray) -> np.ndarray:
    """What the classifier answers, by numpy alone."""
    logits = pictures.reshape(len(pictures), -1) @ _WEIGHT
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
