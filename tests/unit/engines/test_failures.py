"""Engines' own errors, shortened: texts as Paddle, OpenVINO, ONNX Runtime and PyTorch write them."""

from pathlib import Path

import numpy as np
import pytest

from hubserve.engines import ModelFiles
from hubserve.engines.failures import computing, loading, reason
from hubserve.errors import HubError, LoadFailed, ModuleFailed, OutOfMemory

PADDLE = """

--------------------------------------
C++ Traceback (most recent call last):
--------------------------------------
0   paddle::AnalysisPredictor::ZeroCopyRun(bool)
1   std::string phi::enforce::GetCompleteTraceBackString<std::string >(std::string&&, char const*, int)

----------------------
Error Message Summary:
----------------------
InvalidArgumentError: The width of a picture must be 32, but it is 30.
  [Hint: Expected width == 32, but received width:30 != 32.] (at /paddle/phi/infermeta/unary.cc:93)
  [operator < conv2d > error]"""
OPENVINO = """Exception from src/inference/src/cpp/core.cpp:84:
Check 'weights != nullptr' failed at src/frontends/paddle/src/input_model.cpp:320:
FrontEnd API failed with GeneralFailure:
PaddlePaddle *.pdiparams format weight file doesn't exist!

"""
TORCH = """The following operation failed in the TorchScript interpreter.
Traceback of TorchScript, serialized code (most recent call last):
  File "code/__torch__.py", line 9, in forward
    return torch.linear(x, weight, bias)
           ~~~~~~~~~~~~ <--- HERE
RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x3 and 7x3)
"""
RUNTIME = (
    "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Add node. Name:'' Status Message: "
    "/src/core/providers/cpu/math/ops.h:563 void onnxruntime::Iterator::Init(ptrdiff_t, const std::function<int(int)>&) const "
    "Attempting to broadcast an axis by a dimension other than 1. 2 by 3\n"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PADDLE, "InvalidArgumentError: The width of a picture must be 32, but it is 30 (in operator conv2d)"),
        (
            "(Unavailable) Cannot read tensor desc size\n  [Hint: x.] (at /p/a.cc:3)\n  [operator < load_combine > error]",
            "(Unavailable) Cannot read tensor desc size (in operator load_combine)",
        ),
        (OPENVINO, "PaddlePaddle *.pdiparams format weight file doesn't exist!"),
        (TORCH, "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x3 and 7x3)"),
        (RUNTIME, "Attempting to broadcast an axis by a dimension other than 1. 2 by 3 (in operator Add)"),
        (
            "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from /m/net.onnx failed:Protobuf parsing failed.",
            "Protobuf parsing failed",
        ),
        ("", "RuntimeError"),
    ],
)
def test_the_reason_is_the_last_words_or_the_summary(text: str, said: str) -> None:
    assert reason(RuntimeError(text)) == said


def test_of_a_long_reason_the_end_is_kept() -> None:
    summary = reason(RuntimeError("It was in vain. " + "word " * 200 + "till opset 28."))
    assert summary.startswith("It was in vain.")
    assert summary.endswith("till opset 28")
    assert len(summary) < 320


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("Current official support for domain ai.onnx is till opset 28.", "pip install --upgrade thing"),
        ("com.foo:Foo(-1) is not a registered function/op", "an operator that this engine lacks"),
        ("std::bad_alloc", "too little memory"),
        (OPENVINO, "A file of the model is missing"),
        ("Failed to construct locale with name:en_US.UTF-8", "locale-gen en_US.UTF-8"),
        ("Type Error: Type 'x' of input is invalid", "onnx.checker.check_model"),
        ("something else", "The files may be damaged"),
    ],
)
def test_advice_fits_the_cause(text: str, advice: str) -> None:
    with pytest.raises(LoadFailed, match=advice), loading("engine", ModelFiles(Path("/m/net.onnx"), None), "thing"):
        raise RuntimeError(text)


def failed(text: str, engine: str = "engine") -> HubError:
    with pytest.raises(HubError) as caught, computing(engine, {"x": np.ones((2, 3))}):
        raise RuntimeError(text)
    return caught.value


def test_a_failed_computation_reports_its_shapes_and_a_remedy() -> None:
    error = failed(RUNTIME)
    assert isinstance(error, ModuleFailed)
    assert error.message.startswith("the engine engine could not compute x [2, 3]: Attempting to broadcast")
    assert "The model needs other lengths than these" in error.message
    assert failed("stoll").message.endswith(": stoll")


@pytest.mark.parametrize(
    "text", ["std::bad_alloc", "Failed to allocate memory for requested buffer of size 9", "ResourceExhaustedError: x"]
)
def test_where_memory_runs_out_fewer_items_are_computed_from_then_on(text: str) -> None:
    assert isinstance(failed(text), OutOfMemory)


def test_an_engine_that_frees_its_memory_goes_on_in_its_instance() -> None:
    error = failed("CUDA out of memory. Tried to allocate 20 GiB", "pytorch")
    assert not isinstance(error, OutOfMemory)
    assert "CUDA out of memory. Tried to allocate 20 GiB. There was too little memory" in error.message
