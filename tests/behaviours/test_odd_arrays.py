"""Arrays of any dtype and layout, to or from a module, keep their values or are refused, in the configured shapes."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import requests
from onnx import TensorProto, helper

from hubserve.client import Client
from tests.conftest import Server, servers, wait_for
from tests.odd_arrays import LAYOUTS, SENDABLE, UNSENDABLE, array_of, values
from tests.triton_models import tensor, write_scale
from tests.v2 import binary_request

#: number -> dtype and layout that a module is asked to return
ASKED = [
    *((dtype, "plain") for dtype in SENDABLE),
    *(("U3", layout) for layout in ("plain", "reversed")),
    *((">f4", layout) for layout in ("Fortran", "strided", "read-only", "broadcast")),
    ("object", "plain"),
]
REFUSED = UNSENDABLE

BATCH = """
import os

import numpy as np

from hubserve.module import ANY, TensorSpec, batch, moduleinfo
from tests.odd_arrays import LAYOUTS, array_of
from tests.behaviours.test_odd_arrays import ASKED, REFUSED


@moduleinfo(name="gives", version="1.0.0")
class Gives:
    inputs = [TensorSpec("which", "int32", (ANY,))]
    outputs = [TensorSpec("y", "float32", (ANY, ANY)), TensorSpec("pid", "int64", (ANY,))]

    @batch(max_batch_size=1)
    def give(self, which):
        dtype, layout = [*ASKED, *((each, "plain") for each in REFUSED)][which[0]]
        return {"y": LAYOUTS[layout](array_of(dtype))[:1], "pid": np.full(1, os.getpid())}
"""
PYTHON = """
import json

import numpy as np
import triton_python_backend_utils as pb_utils
{top}


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse(self.answer(request)) for request in requests]

    def answer(self, request):
        def x(name):
            return pb_utils.get_input_tensor_by_name(request, name).as_numpy()

{body}
"""
GIVES = """
dtype, layout = ASKED[x("which")[0]]
array = LAYOUTS[layout](array_of(dtype))
return [pb_utils.Tensor("y", array)]
"""
#: a decoupled model whose first response cannot be sent, so it sends another
SENDS = """
sender = request.get_response_sender()
try:
    sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("y", np.array([1.5], object))]), flags=1)
except pb_utils.TritonModelException as error:
    sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("y", np.array([str(error)], object))]), flags=1)
"""
#: its inputs and outputs, by rank and lengths
SHAPES = """
text, pairs = x("text"), x("pairs")
return [
    pb_utils.Tensor("got", np.array([[text.ndim, pairs.ndim, pairs.shape[1], pairs.shape[-1]]] * len(text), np.int64)),
    pb_utils.Tensor("first", np.array([each[:1] for each in text], object)),
    pb_utils.Tensor("sums", pairs.sum(axis=-1)),
]
"""
CALLS_BF16 = """
response = pb_utils.InferenceRequest(model_name="halves", inputs=[pb_utils.Tensor("X", x("X"))], requested_output_names=["Y"]).exec()
tensor = pb_utils.get_output_tensor_by_name(response, "Y")
code = dlpack._read(tensor.to_dlpack())[0].dtype.code
return [pb_utils.Tensor("kind", np.array([code, tensor.triton_dtype()], np.int64))]
"""
BF16 = [tensor("X", [-1], "TYPE_BF16"), tensor("Y", [-1], "TYPE_BF16")]


def python_model(store: Path, name: str, config: str, body: str, top: str = "") -> None:
    folder = store / name / "1"
    folder.mkdir(parents=True)
    lines = "\n".join(f"        {line}" for line in body.strip().splitlines())
    (folder / "model.py").write_text(PYTHON.format(top=top, body=lines))
    (store / name / "config.pbtxt").write_text(f'name: "{name}" {config}')


def no_rank(path: Path) -> None:
    """Write a model that reshapes ``x`` [n, 3]; the file does not state the rank of the output."""
    node = helper.make_node("Reshape", ["x", "s"], ["y"])
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3]), helper.make_tensor_value_info("s", TensorProto.INT64, ["k"])]
    graph = helper.make_graph([node], "toy", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    path.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("odd")
    store = folder / "store"
    (folder / "gives").mkdir()
    found = f"import sys\nsys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})\n"
    (folder / "gives" / "module.py").write_text(found + BATCH)
    top = found + "from tests.behaviours.test_odd_arrays import ASKED\nfrom tests.odd_arrays import LAYOUTS, array_of"
    output = tensor("y", [-1, -1])
    which = tensor("which", [1], "TYPE_INT32")
    python_model(store, "pb_gives", f'backend: "python" input [ {which} ] output [ {output} ]', GIVES, top)
    text = tensor("text", [1], "TYPE_STRING", "reshape { }")
    pairs = tensor("pairs", [-1], more="reshape { shape: [ 1, -1 ] }")
    outputs = [
        tensor("got", [2, 2], "TYPE_INT64", "reshape { shape: [ 4 ] }"),
        tensor("first", [1], "TYPE_STRING", "reshape { shape: [ ] }"),
        tensor("sums", [1]),
    ]
    python_model(
        store,
        "shapes",
        f'backend: "python" max_batch_size: 8 input [ {text}, {pairs} ] output [ {", ".join(outputs)} ] dynamic_batching {{ }}',
        SHAPES,
    )
    decoupled = "model_transaction_policy { decoupled: true }"
    python_model(store, "sends", f'backend: "python" input [ {which} ] output [ {tensor("y", [1], "TYPE_STRING")} ] {decoupled}', SENDS)
    source = store / "sends" / "1" / "model.py"
    source.write_text(
        source.read_text().replace("return [pb_utils.InferenceResponse(self.answer(request)) for", "[self.answer(request) for")
    )
    python_model(store, "halves", f'backend: "python" input [ {BF16[0]} ] output [ {BF16[1]} ]', 'return [pb_utils.Tensor("Y", x("X"))]')
    python_model(
        store,
        "wrong_shape",
        f'backend: "python" max_batch_size: 4 input [ {tensor("x", [4])} ] '
        f"output [ {tensor('y', [4], more='reshape { shape: [ 2, 2 ] }')} ]",
        'return [pb_utils.Tensor("y", x("x"))]',
    )
    config = f'backend: "python" input [ {BF16[0]} ] output [ {tensor("kind", [2], "TYPE_INT64")} ]'
    python_model(store, "calls", config, CALLS_BF16, "from hubserve.kinds.triton.api import dlpack")
    square = f"{tensor('x', [-1, 2, 2], more='reshape { shape: [ 4, -1 ] }')}"
    write_scale(store, "bad", f"max_batch_size: 8 input [ {square} ] output [ {tensor('y', [4])} ]")
    reshaped = f"input [ {tensor('x', [2, 2], more='reshape { shape: [ 4 ] }')} ] output [ {tensor('y', [4])} ]"
    write_scale(store, "flat", f"max_batch_size: 8 {reshaped}")
    (store / "chain").mkdir()
    (store / "chain" / "config.pbtxt").write_text(
        f'platform: "ensemble" max_batch_size: 8 input [ {tensor("t", [1], "TYPE_STRING")}, {tensor("in", [2, 2])} ] '
        f"output [ {tensor('out', [2, 2], 'TYPE_INT64')}, {tensor('sum', [1])} ] ensemble_scheduling {{ step [ "
        '{ model_name: "flat" input_map { key: "x" value: "in" } output_map { key: "y" value: "four" } }, '
        '{ model_name: "shapes" input_map { key: "text" value: "t" } input_map { key: "pairs" value: "four" } '
        'output_map { key: "got" value: "out" } output_map { key: "sums" value: "sum" } } ] }'
    )
    no_rank(store / "ranks" / "1" / "model.onnx")
    (store / "reshaped_chain").mkdir()
    (store / "reshaped_chain" / "config.pbtxt").write_text(
        f'platform: "ensemble" max_batch_size: 8 input [ {tensor("in", [4], more="reshape { }")} ] output [ {tensor("y", [4])} ] '
        'ensemble_scheduling { step [ { model_name: "flat" input_map { key: "x" value: "in" } output_map { key: "y" value: "y" } } ] }'
    )
    with servers(shared_home, folder) as start:
        modules = {"gives": {"workers": 1, "init_args": {"directory": str(folder / "gives")}}}
        running = start(modules, wait=False, model_store=[str(store)], workers=1)
        wait_for(lambda: "loaded in" in running.log.read_text() or running.process.poll() is not None, 240)
        assert running.process.poll() is None, running.log.read_text()
        yield running


def infer(server: Server, model: str, inputs: list[tuple[str, str, np.ndarray]]) -> Any:
    """Send a request with binary tensors; return a mapping of name to array, or the error's text."""
    body, headers = binary_request(inputs, parameters={"binary_data_output": False})
    answer = requests.post(f"http://127.0.0.1:{server.port}/v2/models/{model}/infer", data=body, headers=headers, timeout=30)
    document = answer.json()
    if "error" in document:
        return document["error"]
    return {each["name"]: (each["shape"], each["data"]) for each in document["outputs"]}


def flat(array: np.ndarray) -> list[Any]:
    found = np.asarray(array).ravel()
    return [each.decode() if isinstance(each, bytes) else each for each in values(found)]


@pytest.mark.parametrize("model", ["gives", "pb_gives"])
def test_outputs_of_any_byte_order_and_layout_arrive_with_their_values(server: Server, model: str) -> None:
    for number, (dtype, layout) in enumerate(ASKED):
        answer = infer(server, model, [("which", "INT32", np.array([number], np.int32))])
        assert isinstance(answer, dict), (dtype, layout, answer)
        array = LAYOUTS[layout](array_of(dtype))
        wanted = array[:1] if model == "gives" else array
        assert answer["y"] == (list(wanted.shape), flat(wanted)), (dtype, layout)


def test_outputs_that_cannot_be_sent_are_an_error_and_the_instance_lives(server: Server) -> None:
    pid = infer(server, "gives", [("which", "INT32", np.zeros(1, np.int32))])["pid"]
    for number, dtype in enumerate(REFUSED, len(ASKED)):
        answer = infer(server, "gives", [("which", "INT32", np.array([number], np.int32))])
        assert "the module's answer cannot be sent: an array of dtype " in answer, dtype
    assert infer(server, "gives", [("which", "INT32", np.zeros(1, np.int32))])["pid"] == pid


def test_a_response_that_cannot_be_sent_is_an_error_of_send_and_another_may_follow(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}/v2/models/sends/generate_stream"
    answer = requests.post(url, json={"which": [0]}, timeout=10)
    assert "an array of byte strings holds a float" in answer.text


def test_clients_arrays_of_the_other_byte_order_are_taken_with_their_values_or_refused(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}/predict/gives"
    with Client(url) as client:
        assert client.predict_array(np.array([2], ">i4")) == client.predict_array(np.array([2], np.int32))
    swapped = {"X-Hub-Shape": "1", "X-Hub-Dtype": ">i4", "Content-Type": "application/octet-stream"}
    answer = requests.post(url, data=struct.pack(">i", 2), headers=swapped, timeout=30).json()
    assert "dtype '>i4' cannot be used; use one of bool, int8" in answer["msg"]


def test_a_python_model_is_given_and_gives_the_shapes_of_its_reshape(server: Server) -> None:
    text = np.array([[b"abc"], [b"defg"]], object)
    pairs = np.arange(6, dtype=np.float32).reshape(2, 3)
    answer = infer(server, "shapes", [("text", "BYTES", text), ("pairs", "FP32", pairs)])
    assert answer["got"] == ([2, 2, 2], [1, 3, 1, 3] * 2)
    assert answer["first"] == ([2, 1], ["a", "d"])
    assert answer["sums"] == ([2, 1], [3, 12])
    about = requests.get(f"http://127.0.0.1:{server.port}/v2/models/shapes", timeout=30).json()
    assert [each["shape"] for each in about["inputs"]] == [[-1, 1], [-1, -1]]
    assert [each["shape"] for each in about["outputs"]] == [[-1, 2, 2], [-1, 1], [-1, 1]]


def test_reshapes_hold_within_an_ensemble(server: Server) -> None:
    square = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    answer = infer(server, "chain", [("t", "BYTES", np.array([[b"x"]], object)), ("in", "FP32", square)])
    assert answer == {"out": ([1, 2, 2], [1, 3, 1, 4]), "sum": ([1, 1], [12])}


def test_a_shape_that_is_not_the_reshapes_is_an_error(server: Server) -> None:
    answer = infer(server, "wrong_shape", [("x", "FP32", np.zeros((1, 4), np.float32))])
    assert "gave output 'y' in the shape [1, 4], and the reshape of its configuration says [2, 2] behind the batch" in answer


def test_reshapes_that_cannot_be_are_refused_by_name(server: Server) -> None:
    log = server.log.read_text()
    assert "cannot be reshaped from [-1, 2, 2] to [4, -1]: the numbers of elements differ" in log
    assert "input[0].reshape (ensemble models cannot have it" in log


def test_an_output_of_unknown_rank_has_any_shape(server: Server) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for shape in ([3, 2], [6], [1, 2, 3, 1]):
        answer = infer(server, "ranks", [("x", "FP32", x), ("s", "INT64", np.array(shape))])
        assert answer == {"y": (shape, [0, 1, 2, 3, 4, 5])}


def test_bfloat16_of_another_model_is_bfloat16(server: Server) -> None:
    assert infer(server, "calls", [("X", "BF16", np.arange(3, dtype=np.uint16))])["kind"] == ([2], [4, 14])
