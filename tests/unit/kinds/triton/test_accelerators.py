"""Execution accelerators of a Triton model."""

from typing import Any

import pytest

from hubserve.engines import EngineOptions
from hubserve.errors import ConfigError
from hubserve.kinds.triton.accelerators import accelerate, paths_of
from hubserve.kinds.triton.config import parse_config

GPU, CPU = EngineOptions(use_gpu=True), EngineOptions()


def config(device: str, *accelerators: tuple[str, dict[str, str]]) -> dict[str, Any]:
    listed = []
    for name, parameters in accelerators:
        given = " ".join(f'parameters {{ key: "{key}" value: "{value}" }}' for key, value in parameters.items())
        listed.append(f'{{ name: "{name}" {given} }}')
    text = f"optimization {{ execution_accelerators {{ {device}_execution_accelerator: [ {', '.join(listed)} ] }} }}"
    return parse_config(f'name: "m" {text}', "test")


def test_tensorrt_of_an_onnx_model_takes_triton_s_parameters_and_onnx_runtime_s() -> None:
    given = {"precision_mode": "FP16", "max_workspace_size_bytes": "1073741824", "trt_engine_cache_enable": "1"}
    options, parameters, notes = accelerate(config("gpu", ("tensorrt", given)), "onnxruntime", GPU)
    assert (options.use_tensorrt, options.use_fp16, notes) == (True, True, [])
    assert parameters == {"trt_max_workspace_size": "1073741824", "trt_engine_cache_enable": "1"}
    options, parameters, _ = accelerate(config("gpu", ("tensorrt", {"precision_mode": "INT8"})), "onnxruntime", GPU)
    assert (options.use_fp16, parameters) == (False, {"trt_int8_enable": "1"})


def test_cuda_of_an_onnx_model_takes_onnx_runtime_s_options() -> None:
    given = {"cudnn_conv_use_max_workspace": "0", "use_ep_level_unified_stream": "1"}
    options, parameters, _ = accelerate(config("gpu", ("cuda", given)), "onnxruntime", GPU)
    assert (options.use_tensorrt, parameters) == (False, given)


def test_tensorrt_of_a_paddle_model_takes_paddle_s_precision() -> None:
    options, _, _ = accelerate(config("gpu", ("tensorrt", {"precision": "trt_fp16"})), "paddle", GPU)
    assert (options.use_tensorrt, options.use_fp16) == (True, True)


@pytest.mark.parametrize("backend", ["paddle", "onnxruntime"])
def test_accelerators_of_the_other_device_have_no_effect_and_are_noted(backend: str) -> None:
    options, parameters, notes = accelerate(config("gpu", ("tensorrt", {"anything": "1"})), backend, CPU)
    assert (options, parameters) == (CPU, {})
    assert notes == ["the execution accelerator 'tensorrt' is for GPUs, and this instance computes on a CPU"]
    assert accelerate(config("cpu", ("openvino", {})), backend, GPU).notes == []
    assert "'mkldnn' is for CPUs" in accelerate(config("cpu", ("mkldnn", {})), backend, GPU).notes[0]


@pytest.mark.parametrize("backend", ["tensorflow", "pytorch", "openvino", "python"])
@pytest.mark.parametrize("name", ["tensorrt", "auto_mixed_precision", "gpu_io", "auto_io"])
def test_other_backends_ignore_accelerators(backend: str, name: str) -> None:
    assert accelerate(config("gpu", (name, {"max_cached_engines": "1"})), backend, GPU) == (GPU, {}, [])


@pytest.mark.parametrize(
    ("backend", "accelerator", "reason"),
    [
        ("onnxruntime", ("unknown_gpu", {}), "execution accelerator 'unknown_gpu' is not supported here; use tensorrt or cuda"),
        (
            "onnxruntime",
            ("tensorrt", {"segment_size": "1"}),
            "'tensorrt' has no parameter 'segment_size' here; it takes precision_mode, trt_",
        ),
        ("onnxruntime", ("tensorrt", {"trt_extra_plugin_lib_paths": "/tmp/x.so"}), "no parameter 'trt_extra_plugin_lib_paths'"),
        ("onnxruntime", ("tensorrt", {"precision_mode": "FP8"}), "precision_mode 'FP8' is not one of FP32, FP16, INT8"),
        ("onnxruntime", ("cuda", {"user_compute_stream": "1"}), "'cuda' has no parameter 'user_compute_stream'"),
        ("paddle", ("tensorrt", {"precision": "trt_int4"}), "precision 'trt_int4' is not one of trt_fp32, trt_fp16"),
        ("paddle", ("cuda", {}), "'cuda' is not supported here; use tensorrt"),
    ],
)
def test_what_an_accelerator_does_not_take_is_refused(backend: str, accelerator: tuple[str, dict[str, str]], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        accelerate(config("gpu", accelerator), backend, GPU)


def test_paths_of_caches_are_found_in_accelerators_and_parameters() -> None:
    found = config("gpu", ("tensorrt", {"trt_engine_cache_path": "/a", "precision_mode": "FP16"}))
    found["parameters"] = {"trt_timing_cache_path": {"string_value": "/b"}, "x": {"string_value": "/c"}}
    assert paths_of(found) == {"trt_engine_cache_path": "/a", "trt_timing_cache_path": "/b"}
