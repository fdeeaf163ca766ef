"""The execution accelerators of a Triton model: ``optimization { execution_accelerators { ... } }``.

Those for GPUs count on instances that compute on a GPU, those for CPUs on the others, as in Triton.
"""

from typing import Any, Dict, List, Mapping, NamedTuple

from hubserve.engines.base import EngineOptions
from hubserve.engines.tuning import CUDA_OPTIONS, TENSORRT_OPTIONS
from hubserve.errors import ConfigError

OPENVINO = "openvino"
#: Triton's names of TensorRT's options for ONNX models -> those of ONNX Runtime
_TENSORRT_NAMES = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
#: ``precision_mode`` of an ONNX model -> the options that it stands for
_PRECISION_MODES: Dict[str, Dict[str, str]] = {"FP32": {}, "FP16": {}, "INT8": {"trt_int8_enable": "1"}}
#: ``precision`` of a Paddle model -> whether it is half precision
_PADDLE_PRECISIONS = {"trt_fp32": False, "trt_fp16": True}
#: parameters whose value is a file or folder that the server writes or reads
PATHS = ("trt_engine_cache_path", "trt_timing_cache_path", "trt_int8_calibration_table_name", "int8_calibration_table_name")


class Accelerated(NamedTuple):
    """The meaning of a model's accelerators.

    Attributes:
        options: the engine's.
        parameters: of the engine, by name.
        notes: on accelerators without effect.
    """

    options: EngineOptions
    parameters: Mapping[str, str]
    notes: List[str]


def accelerators(config: Mapping[str, Any], device: str) -> List[Mapping[str, Any]]:
    """Return the accelerators for a device, ``cpu`` or ``gpu``."""
    given = config.get("optimization", {}).get("execution_accelerators", {})
    return list(given.get(f"{device}_execution_accelerator", []))


def is_on_openvino(config: Mapping[str, Any], backend: str) -> bool:
    """Return True for an ONNX model that OpenVINO, an engine of its own here, computes on CPUs."""
    return backend == "onnxruntime" and any(each.get("name") == OPENVINO for each in accelerators(config, "cpu"))


def paths_of(config: Mapping[str, Any]) -> Dict[str, str]:
    """Return the files and folders that a configuration names for accelerators, by parameter."""
    given = [each.get("parameters", {}) for each in accelerators(config, "gpu")]
    given.append({key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()})
    return {key: str(value) for parameters in given for key, value in parameters.items() if key in PATHS}


def accelerate(config: Mapping[str, Any], backend: str, options: EngineOptions) -> Accelerated:
    """Return what a model's accelerators ask for on the device of ``options``.

    Raises:
        ConfigError: one that counts is unknown, or has a parameter that it does not take.
    """
    result = Accelerated(options, {}, [])
    if backend not in ("onnxruntime", "paddle"):
        return result
    device, other = ("gpu", "cpu") if options.use_gpu else ("cpu", "gpu")
    for accelerator in accelerators(config, device):
        result = _READERS[backend, device](config, accelerator, result)
    unused = [each for each in accelerators(config, other) if (other, each.get("name")) != ("cpu", OPENVINO)]
    result.notes.extend(
        f"the execution accelerator '{each.get('name')}' is for {other.upper()}s, and this instance computes on a {device.upper()}"
        for each in unused
    )
    return result


def _paddle_cpu(config: Mapping[str, Any], accelerator: Mapping[str, Any], result: Accelerated) -> Accelerated:
    _check(config, accelerator, ("mkldnn", "onednn"), ("cpu_threads",))
    return result._replace(parameters={**result.parameters, **accelerator.get("parameters", {})})


def _paddle_gpu(config: Mapping[str, Any], accelerator: Mapping[str, Any], result: Accelerated) -> Accelerated:
    _check(config, accelerator, ("tensorrt",), ("precision",))
    precision = accelerator.get("parameters", {}).get("precision", "trt_fp32")
    if precision not in _PADDLE_PRECISIONS:
        raise ConfigError(f"model '{config['name']}': tensorrt's precision '{precision}' is not one of {', '.join(_PADDLE_PRECISIONS)}")
    return result._replace(options=result.options._replace(use_tensorrt=True, use_fp16=_PADDLE_PRECISIONS[precision]))


def _onnx_cpu(config: Mapping[str, Any], accelerator: Mapping[str, Any], result: Accelerated) -> Accelerated:  # noqa: ARG001 - one signature
    if accelerator.get("name") != OPENVINO:
        result.notes.append(f"the execution accelerator '{accelerator.get('name')}' changes nothing here")
    return result


def _onnx_gpu(config: Mapping[str, Any], accelerator: Mapping[str, Any], result: Accelerated) -> Accelerated:
    given = {_TENSORRT_NAMES.get(key, key): value for key, value in accelerator.get("parameters", {}).items()}
    if accelerator.get("name") == "cuda":
        _check(config, {"name": "cuda", "parameters": given}, ("cuda",), tuple(CUDA_OPTIONS))
        return result._replace(parameters={**result.parameters, **given})
    _check(config, {**accelerator, "parameters": given}, ("tensorrt", "cuda"), ("precision_mode", *TENSORRT_OPTIONS))
    mode = given.pop("precision_mode", "FP32")
    if mode not in _PRECISION_MODES:
        raise ConfigError(f"model '{config['name']}': tensorrt's precision_mode '{mode}' is not one of {', '.join(_PRECISION_MODES)}")
    options = result.options._replace(use_tensorrt=True, use_fp16=mode == "FP16")
    return result._replace(options=options, parameters={**result.parameters, **_PRECISION_MODES[mode], **given})


_READERS = {
    ("paddle", "cpu"): _paddle_cpu,
    ("paddle", "gpu"): _paddle_gpu,
    ("onnxruntime", "cpu"): _onnx_cpu,
    ("onnxruntime", "gpu"): _onnx_gpu,
}


def _check(config: Mapping[str, Any], accelerator: Mapping[str, Any], names: Any, known: Any) -> None:
    name, model = accelerator.get("name", ""), config["name"]
    if name not in names:
        raise ConfigError(f"model '{model}': execution accelerator '{name}' is not supported here; use {' or '.join(names)}")
    unknown = sorted(set(accelerator.get("parameters", {})) - set(known))
    if unknown:
        raise ConfigError(
            f"model '{model}': execution accelerator '{name}' has no parameter '{unknown[0]}' here; it takes {', '.join(sorted(known))}"
        )
