"""Models that take the place of those of Triton's examples that are not in its repositories.

Their weights are fetched by scripts, or they are computed by example backends in C++. Each has the name and the signature of the original.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 1000

_PYTHON = """import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {{}}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        def given(name):
            return pb_utils.get_input_tensor_by_name(request, name).as_numpy()

{body}
"""

_IDENTITY = """backend: "python" max_batch_size: 1024
input [ { name: "INPUT0" data_type: TYPE_INT32 dims: [ -1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_INT32 dims: [ -1 ] } ]
"""
_IDENTITY_BODY = """        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", given("INPUT0"))])"""

_SUM_BODY = """        name = given("CORRID").reshape(-1)[0]
        last = 0 if given("START").any() else self.sums.get(name, 0)
        total = self.sums[name] = last + given("INPUT")
        if given("END").any():
            total = self.sums.pop(name) + int(name)
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", total.astype(np.int32))])"""

_PREPROCESS = """backend: "python" max_batch_size: 8
input [ { name: "INPUT" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "OUTPUT" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] } ]
"""
_PREPROCESS_BODY = """        import io

        from PIL import Image

        pictures = [Image.open(io.BytesIO(each)).convert("RGB").resize((224, 224)) for each in given("INPUT").reshape(-1)]
        arrays = np.stack([np.asarray(each, np.float32).transpose(2, 0, 1) / 127.5 - 1 for each in pictures])
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", arrays)])"""

_CLASSIFIER = """platform: "onnxruntime_onnx" max_batch_size: 8
input [ { name: "input" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] } ]
output [ { name: "scores" data_type: TYPE_FP32 dims: [ 1000 ] label_filename: "labels.txt" } ]
"""
_ENSEMBLE = """platform: "ensemble" max_batch_size: 8
input [ { name: "INPUT" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "OUTPUT" data_type: TYPE_FP32 dims: [ 1000 ] } ]
ensemble_scheduling { step [
  { model_name: "preprocess" model_version: -1 input_map { key: "INPUT" value: "INPUT" } output_map { key: "OUTPUT" value: "picture" } },
  { model_name: "classifier" model_version: -1 input_map { key: "input" value: "picture" } output_map { key: "scores" value: "OUTPUT" } }
] }
"""


def write_densenet(store: Path) -> None:
    """Write the file of ``densenet_onnx``: ``data_0`` [1, 3, 224, 224] -> ``fc6_1`` [1, 1000, 1, 1], by the picture's colours."""
    _write_classifier(store / "densenet_onnx" / "1" / "model.onnx", "data_0", "fc6_1", 1, [1, CLASSES, 1, 1])


def write_others(store: Path) -> None:
    """Write the models that the clients ask for and that are in no repository."""
    _write_python(store / "custom_identity_int32", _IDENTITY, _IDENTITY_BODY)
    _write_python(store / "preprocess", _PREPROCESS, _PREPROCESS_BODY)
    _write_classifier(store / "classifier" / "1" / "model.onnx", "input", "scores", "n", [-1, CLASSES])
    (store / "classifier" / "config.pbtxt").write_text(_CLASSIFIER)
    (store / "classifier" / "labels.txt").write_text("".join(f"class {number}\n" for number in range(CLASSES)))
    (store / "preprocess_inception_ensemble").mkdir()
    (store / "preprocess_inception_ensemble" / "config.pbtxt").write_text(_ENSEMBLE)


def write_string_sequences(store: Path) -> None:
    """Write ``simple_string_dyna_sequence``: as ``simple_dyna_sequence``, whose sequences have texts for names and are added up."""
    config = (store / "simple_dyna_sequence" / "config.pbtxt").read_text("utf-8")
    config = config.replace("simple_dyna_sequence", "simple_string_dyna_sequence").replace("TYPE_UINT64", "TYPE_STRING")
    config = config.replace('platform: "onnxruntime_onnx"', 'backend: "python"').replace("count: 2", "count: 1")
    _write_python(store / "simple_string_dyna_sequence", config, _SUM_BODY)


def _write_python(folder: Path, config: str, body: str) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    (folder / "1" / "model.py").write_text(_PYTHON.format(body=body))


def _write_classifier(path: Path, takes: str, gives: str, batch: "int | str", shape: "list[int]") -> None:
    """Write a classifier that multiplies a picture's mean colours by random weights."""
    weights = np.random.default_rng(0).standard_normal((3, CLASSES)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", [takes], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], [gives]),
    ]
    constants = [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.int64(shape), "shape")]
    given = helper.make_tensor_value_info(takes, TensorProto.FLOAT, [batch, 3, 224, 224])
    answered = helper.make_tensor_value_info(gives, TensorProto.FLOAT, [batch, *shape[1:]])
    graph = helper.make_graph(nodes, "classifier", [given], [answered], constants)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
