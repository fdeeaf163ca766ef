"""Translate the parameters that Triton documents for its backends of model files into settings.

Sources: the READMEs of triton-inference-server/onnxruntime_backend, pytorch_backend, openvino_backend and tensorflow_backend.
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
        note: why it changes nothing here; "" where it does.
    """

    read: Callable[[str], str]
    threads: bool = False
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
        decoded = json.loads(text)
    except ValueError:
        decoded = None
    if not isinstance(decoded, dict):
        raise ValueError('a JSON object such as {"num_classes": 10}')
    return text


_GPU = "it is for GPUs, and ONNX models compute on the CPU here"
_OWN_PROCESS = "each instance is a process of its own"

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
        "cudnn_conv_algo_search": Parameter(_text, note=_GPU),
        "cudnn_conv_use_max_workspace": Parameter(_text, note=_GPU),
        "gpu_mem_limit": Parameter(_text, note=_GPU),
        "arena_extend_strategy": Parameter(_text, note=_GPU),
        "do_copy_in_default_stream": Parameter(_text, note=_GPU),
    },
    "openvino": {
        "INFERENCE_NUM_THREADS": Parameter(_count(1), threads=True),
        "NUM_STREAMS": Parameter(_text, note="an instance computes one batch at a time; say instance_group.count for more"),
    },
    "paddle": {"cpu_threads": Parameter(_count(1), threads=True)},
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


def read_tuning(backend: str, parameters: Mapping[str, str], where: str) -> Tuning:
    """Read those of a model's parameters that its backend documents; others are left out.

    Args:
        backend: what computes the model.
        parameters: name to text.
        where: what messages begin with.
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
        if parameter.note:
            tuning.notes.append(f"parameter {key} changes nothing here: {parameter.note}")
        elif parameter.threads:
            tuning = tuning._replace(threads=int(value))
        else:
            tuning.settings.append((key, value))
    return tuning


def _parameter(backend: str, key: str) -> Optional[Parameter]:
    known = PARAMETERS.get(backend, {}).get(key)
    return known or (Parameter(_text) if is_known(backend, key) else None)
