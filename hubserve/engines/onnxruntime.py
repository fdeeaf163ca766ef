"""ONNX Runtime: a fast CPU engine; Paddle's files are converted to ONNX for it, once."""

from pathlib import Path
from typing import Any, Dict, List, Set, Tuple

import numpy as np

from hubserve.engines.base import SPECIAL, Engine, EngineOptions, ModelFiles
from hubserve.engines.conversion import onnx_of
from hubserve.engines.failures import computing, loading
from hubserve.engines.imports import import_package
from hubserve.engines.program import read_program
from hubserve.engines.protobuf import message_of, messages_of, parse_message, text_of
from hubserve.errors import LoadFailed
from hubserve.types import ANY, REST, TensorSpec, check_arrays, native

_INSTALL = "Install it with: pip install onnxruntime (or: pip install 'hubserve[fast]')."
_ERRORS_ONLY = 3
_DTYPES = {
    "bool": "bool",
    "float16": "float16",
    "float": "float32",
    "double": "float64",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "uint8": "uint8",
    "uint16": "uint16",
    "uint32": "uint32",
    "uint64": "uint64",
}


class OnnxRuntimeEngine(Engine):
    """Runs ONNX files, and Paddle's through a conversion, on the CPU."""

    name = "onnxruntime"

    @classmethod
    def reads(cls, graph: Path) -> bool:
        """ONNX and Paddle's forms; whether those can be converted is found when they are loaded."""
        return graph.suffix not in SPECIAL

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        if not self.reads(files.graph):
            raise LoadFailed(f"ONNX Runtime does not read '{files.graph.name}'. Give it an ONNX file, or one of Paddle's.")
        program = None if files.graph.suffix == ".onnx" else read_program(files.graph)
        onnxruntime: Any = import_package("onnxruntime", "the onnxruntime engine", _INSTALL)
        settings = session_settings(onnxruntime, options)
        self._session = _open(onnxruntime, files, settings)
        if program is None:
            self.inputs, self.outputs = _specs(self._session, files.graph)
        else:
            # the converter renames outputs but keeps their order; inputs keep their names
            self.inputs, self.outputs = program.inputs, program.outputs
        self._result_names = [each.name for each in self._session.get_outputs()]
        self.settings = {"version": onnxruntime.__version__, "device": "cpu", "threads": options.cpu_num_threads, "precision": "fp32"}

    def run(self, inputs: Dict[str, np.ndarray]) -> List[np.ndarray]:
        """See :meth:`Engine.run`."""
        check_arrays(self.inputs, inputs)
        arrays = {name: np.asarray(native(array), order="C") for name, array in inputs.items()}
        with computing(self.name, inputs):
            return list(self._session.run(self._result_names, arrays))


def session_settings(onnxruntime: Any, options: EngineOptions) -> Any:
    """The ``onnxruntime.SessionOptions`` for one instance.

    Source: https://onnxruntime.ai/docs/performance/tune-performance/threading.html
    """
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.cpu_num_threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Waiting threads would otherwise burn the cores that other instances compute on.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = _ERRORS_ONLY
    if not options.ir_optim:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return settings


def _open(onnxruntime: Any, files: ModelFiles, settings: Any) -> Any:
    def session(path: Path) -> Any:
        with loading(OnnxRuntimeEngine.name, files):
            return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])

    if files.graph.suffix == ".onnx":
        return session(files.graph)
    converted = onnx_of(files)
    try:
        return session(converted)
    except LoadFailed:
        return session(onnx_of(files, again=True))  # the kept conversion may have been damaged since


def _specs(session: Any, graph: Path) -> Tuple[List[TensorSpec], List[TensorSpec]]:
    """Return inputs and outputs. ONNX Runtime reports a tensor of unknown rank as a scalar; the file does not."""
    inputs, outputs = ([_spec(each) for each in side] for side in (session.get_inputs(), session.get_outputs()))
    if all(spec.shape for spec in (*inputs, *outputs)):
        return inputs, outputs
    unknown = _without_rank(graph)
    both = [
        [spec._replace(shape=(REST,)) if not spec.shape and spec.name in unknown else spec for spec in side] for side in (inputs, outputs)
    ]
    return both[0], both[1]


def _without_rank(path: Path) -> Set[str]:
    """Return the inputs and outputs for which an ONNX file has no shape; an empty set if it cannot be read.

    Source of the field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
    """
    try:
        graph = message_of(parse_message(path.read_bytes()), 7)
        tensors = [*messages_of(graph, 11), *messages_of(graph, 12)]
        return {text_of(each, 1) for each in tensors if 2 not in message_of(message_of(each, 2), 1)}
    except (OSError, ValueError):
        return set()


def _spec(described: Any) -> TensorSpec:
    dtype = _DTYPES.get(described.type[len("tensor(") : -1] if described.type.startswith("tensor(") else "")
    if dtype is None:
        raise LoadFailed(f"tensor '{described.name}' has type {described.type}, which cannot be served")
    # a length that may vary is a name, or missing
    shape = tuple(length if isinstance(length, int) else ANY for length in described.shape)
    return TensorSpec(described.name, dtype, shape)
