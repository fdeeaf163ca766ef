"""Translate the parameters that Triton documents for its backends of model files into settings.

Sources: the READMEs of triton-inference-server/onnxruntime_backend, pytorch_backend, openvino_backend and tensorflow_backend, and
of Oneflow-Inc/serving.
"""

import json
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from hubserve.errors import ConfigError

#: an engine's settings by any name, such as ``session.dynamic_block_base``
_OPEN_ENDED = {"onnxruntime": ("session.", "memory.")}


class Parameter(NamedTuple):
    """One parameter.

    Attributes:
        read: gives the value in the form that the engine takes, or raises ValueError with what it must be.
        threads: whether it is the number of threads of one call.
        gpu: whether it takes effect on a GPU only.
        note: why it changes nothing here; "" where it does.
    """

    read: Callable[[str], str]
    threads: bool = False
    gpu: bool = False
    note: str = ""


class Tuning(NamedTuple):
    """The result of reading parameters.

    Attributes:
        threads: of one call; 0 where nothing is said.
        settings: name and value of each setting for the engine.
        notes: what changes nothing, and why.
    """

    threads: int
    settings: List[Tuple[str, str]]
    notes: List[str]


def _count(least: int) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) >= least):
            raise ValueError(f"a whole number from {least} up")
        return str(int(text))

    return read


def _flag(text: str) -> str:
    if text.lower() not in ("0", "1", "true", "false"):
        raise ValueError("0 or 1, true or false")
    return "1" if text.lower() in ("1", "true") else "0"


def _choice(*values: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in values:
            raise ValueError(f"one of {', '.join(values)}")
        return text

    return read


def _text(text: str) -> str:
    return text


def _identifier(text: str) -> str:
    if not text.isidentifier():
        raise ValueError("the name of a class")
    return text


def _object(text: str) -> str:
    try:
        is_object = isinstance(json.loads(text), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise ValueError('a JSON object such as {"num_classes": 10}')
    return text


def _named(*names: str) -> Callable[[str], str]:
    """Return the reader of a choice that may be a name or its number."""

    def read(text: str) -> str:
        if text.isdigit() and int(text) < len(names):
            return names[int(text)]
        if text not in names:
            raise ValueError(f"one of {', '.join(f'{number} ({name})' for number, name in enumerate(names))}")
        return text

    return read


def _bytes(text: str) -> str:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 64):
        raise ValueError("a number of bytes")
    return text


_GPU = "it is for GPUs, and this instance computes on the CPU"
_OWN_PROCESS = "each instance is a process of its own"

#: options of ONNX Runtime's CUDA provider, also the parameters of the accelerator ``cuda``
CUDA_OPTIONS: Dict[str, Parameter] = {
    "cudnn_conv_algo_search": Parameter(_named("EXHAUSTIVE", "HEURISTIC", "DEFAULT"), gpu=True),
    "cudnn_conv_use_max_workspace": Parameter(_flag, gpu=True),
    "cudnn_conv1d_pad_to_nc1d": Parameter(_flag, gpu=True),
    "gpu_mem_limit": Parameter(_bytes, gpu=True),
    "arena_extend_strategy": Parameter(_named("kNextPowerOfTwo", "kSameAsRequested"), gpu=True),
    "do_copy_in_default_stream": Parameter(_flag, gpu=True),
    "use_ep_level_unified_stream": Parameter(_flag, gpu=True),
    "use_tf32": Parameter(_flag, gpu=True),
    "prefer_nhwc": Parameter(_flag, gpu=True),
    "fuse_conv_bias": Parameter(_flag, gpu=True),
    "tunable_op_enable": Parameter(_flag, gpu=True),
    "tunable_op_tuning_enable": Parameter(_flag, gpu=True),
}
TENSORRT_PREFIX = "trt_"
#: options of ONNX Runtime's TensorRT provider. Left out: addresses of memory, and names of libraries to load.
_TENSORRT_FLAGS = (
    "trt_fp16_enable",
    "trt_bf16_enable",
    "trt_int8_enable",
    "trt_int8_use_native_calibration_table",
    "trt_engine_cache_enable",
    "trt_timing_cache_enable",
    "trt_force_timing_cache",
    "trt_dump_subgraphs",
    "trt_detailed_build_log",
    "trt_build_heuristics_enable",
    "trt_context_memory_sharing_enable",
    "trt_cuda_graph_enable",
    "trt_dla_enable",
    "trt_engine_hw_compatible",
    "trt_force_sequential_engine_build",
    "trt_layer_norm_fp32_fallback",
    "trt_sparsity_enable",
)
TENSORRT_OPTIONS: Dict[str, Parameter] = {
    **{key: Parameter(_flag, gpu=True) for key in _TENSORRT_FLAGS},
    "trt_max_workspace_size": Parameter(_bytes, gpu=True),
    "trt_max_partition_iterations": Parameter(_count(1), gpu=True),
    "trt_min_subgraph_size": Parameter(_count(1), gpu=True),
    "trt_builder_optimization_level": Parameter(_choice(*map(str, range(6))), gpu=True),
    "trt_auxiliary_streams": Parameter(_count(0), gpu=True),
    "trt_dla_core": Parameter(_count(0), gpu=True),
    **{
        key: Parameter(_text, gpu=True)
        for key in (
            "trt_engine_cache_path",
            "trt_engine_cache_prefix",
            "trt_timing_cache_path",
            "trt_int8_calibration_table_name",
            "trt_profile_min_shapes",
            "trt_profile_opt_shapes",
            "trt_profile_max_shapes",
            "trt_op_types_to_exclude",
        )
    },
}
#: backend -> parameter -> its kind
PARAMETERS: Dict[str, Dict[str, Parameter]] = {
    "onnxruntime": {
        "intra_op_thread_count": Parameter(_count(0), threads=True),
        "inter_op_thread_count": Parameter(_count(0)),
        "execution_mode": Parameter(_choice("0", "1")),
        "enable_mem_arena": Parameter(_flag),
        "enable_mem_pattern": Parameter(_flag),
        "memory.enable_memory_arena_shrinkage": Parameter(_text),
        "optimization.graph.level": Parameter(_choice("-1", "0", "1", "2")),
        **CUDA_OPTIONS,
        **TENSORRT_OPTIONS,
    },
    "openvino": {
        "INFERENCE_NUM_THREADS": Parameter(_count(1), threads=True),
        "NUM_STREAMS": Parameter(_text, note="an instance computes one batch at a time; say instance_group.count for more"),
    },
    "paddle": {"cpu_threads": Parameter(_count(1), threads=True)},
    "megengine": {"cpu_threads": Parameter(_count(1), threads=True)},
    "oneflow": {
        "cpu_threads": Parameter(_count(1), threads=True),
        "xrt": Parameter(_text, note="OneFlow computes the graph itself, as its packages are built without XRT"),
    },
    "pytorch": {
        "INTRA_OP_THREAD_COUNT": Parameter(_count(0), threads=True),
        "INTER_OP_THREAD_COUNT": Parameter(_count(0)),
        "INFERENCE_MODE": Parameter(_flag),
        "DISABLE_OPTIMIZED_EXECUTION": Parameter(_flag),
        "DISABLE_CUDNN": Parameter(_flag),
        "ENABLE_CACHE_CLEANING": Parameter(_flag),
        "ENABLE_JIT_EXECUTOR": Parameter(_flag),
        "ENABLE_JIT_PROFILING": Parameter(_flag),
        "ENABLE_TENSOR_FUSER": Parameter(_flag),
        "ENABLE_NVFUSER": Parameter(_flag, note="PyTorch has no NVFuser any more"),
        "ENABLE_WEIGHT_SHARING": Parameter(_flag, note=_OWN_PROCESS),
        "MODEL_CLASS": Parameter(_identifier),
        "MODEL_ARGS": Parameter(_object),
    },
    "tensorflow": {
        "TF_NUM_INTRA_THREADS": Parameter(_count(0), threads=True),
        "TF_NUM_INTER_THREADS": Parameter(_count(0)),
        "TF_USE_PER_SESSION_THREADS": Parameter(_flag, note=_OWN_PROCESS),
        "MAX_SESSION_SHARE_COUNT": Parameter(_count(1), note=_OWN_PROCESS),
        "TF_GRAPH_TAG": Parameter(_text),
        "TF_SIGNATURE_DEF": Parameter(_text),
        "TF_INIT_OPS_FILE": Parameter(_text, note="it is for frozen graphs, and a SavedModel names its own initialization"),
    },
}


def is_known(backend: str, key: str) -> bool:
    """Return True if a backend of model files has such a parameter."""
    return key in PARAMETERS.get(backend, {}) or key.startswith(_OPEN_ENDED.get(backend, ()) or "\0")


def read_tuning(backend: str, parameters: Mapping[str, str], where: str, use_gpu: bool = False) -> Tuning:
    """Read those of a model's parameters that its backend documents; others are left out.

    Args:
        backend: what computes the model.
        parameters: name to text.
        where: what messages begin with.
        use_gpu: whether the model computes on a GPU.
    Raises:
        ConfigError: a value cannot be used.
    """
    tuning = Tuning(0, [], [])
    for key, text in parameters.items():
        parameter = _parameter(backend, key)
        if parameter is None:
            continue
        try:
            value = parameter.read(text.strip())
        except ValueError as error:
            raise ConfigError(f"{where}parameter {key} must be {error}, got {text!r}") from None
        note = parameter.note or (_GPU if parameter.gpu and not use_gpu else "")
        if note:
            tuning.notes.append(f"parameter {key} changes nothing here: {note}")
        elif parameter.threads:
            tuning = tuning._replace(threads=int(value))
        else:
            tuning.settings.append((key, value))
    return tuning


def _parameter(backend: str, key: str) -> Optional[Parameter]:
    known = PARAMETERS.get(backend, {}).get(key)
    return known or (Parameter(_text) if is_known(backend, key) else None)
