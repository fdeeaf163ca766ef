"""ONNX Runtime: a fast engine, on the CPU or a GPU; Paddle's files are converted to ONNX for it, once."""

from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np

from hubserve.engines.base import Engine, EngineOptions, ModelFiles
from hubserve.engines.failures import computing, loading
from hubserve.engines.gpus import NoGpu
from hubserve.engines.model_formats import backend_of_file
from hubserve.engines.onnx_conversion import onnx_of
from hubserve.engines.onnx_graph import OnnxGraph, files_outside, read_onnx
from hubserve.engines.onnx_providers import open_session
from hubserve.engines.onnx_values import Port, from_json, port_of, run_with_bfloat16, table_of, to_runtime
from hubserve.engines.package_imports import import_package
from hubserve.engines.paddle_program import read_program
from hubserve.errors import InvalidInput, LoadFailed
from hubserve.types import BFLOAT16, check_arrays, native

_INSTALL = "Install it with: pip install onnxruntime (or: pip install 'hubserve[fast]')."
_ERRORS_ONLY = 3
#: the levels of Triton's ``optimization { graph { level } }``; 0, or none, is all
_GRAPH_LEVELS = {"-1": "ORT_ENABLE_BASIC", "1": "ORT_ENABLE_EXTENDED", "2": "ORT_DISABLE_ALL"}
_SHRINKAGE = "memory.enable_memory_arena_shrinkage"
#: of Paddle's files, which say themselves what they take and give
_NOTHING_SAID = OnnxGraph(frozenset(), {}, ())


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime on the CPU, or on a GPU with CUDA or TensorRT: ONNX files, and Paddle's after a conversion."""

    name = "onnxruntime"
    has_gpu = True
    gpu_package = "onnxruntime-gpu"
    gpu_profile = "onnxruntime-gpu"

    @classmethod
    def reads(cls, graph: Path) -> bool:
        """Return True for ONNX and Paddle's formats; whether those convert is known when they are loaded."""
        return backend_of_file(graph) in ("onnxruntime", "paddle", "")

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        if not self.reads(files.graph):
            raise LoadFailed(f"ONNX Runtime does not read '{files.graph.name}'. Give it an ONNX file, or one of Paddle's.")
        graph, program = _NOTHING_SAID, None
        if files.graph.suffix == ".onnx":
            graph = read_onnx(files.graph)
            files_outside(files.graph, graph)
        else:
            program = read_program(files.graph)
        onnxruntime: Any = import_package("onnxruntime", "the onnxruntime engine", _INSTALL)
        tuning = dict(options.tuning)
        self._onnxruntime = onnxruntime
        self._session = _open(onnxruntime, files, options)
        self._how = onnxruntime.RunOptions()
        if _SHRINKAGE in tuning and tuning.get("enable_mem_arena") != "0":  # without an arena there is nothing to shrink
            self._how.add_run_config_entry(_SHRINKAGE, tuning[_SHRINKAGE])
        self._inputs = [port_of(each, graph) for each in self._session.get_inputs()]
        self._outputs = [port_of(each, graph) for each in self._session.get_outputs()]
        if program is None:
            self.inputs = [each.spec for each in self._inputs if each.spec]
            self.outputs = [each.spec for each in self._outputs if each.spec]
        else:
            # the converter renames outputs but keeps their order; inputs keep their names
            self.inputs, self.outputs = program.inputs, program.outputs
        self.value_inputs = [each.value for each in self._inputs if each.spec is None]
        self.value_outputs = [each.value for each in self._outputs if each.spec is None]
        self.labels = {each.name: [str(key) for key in each.classes] for each in self._outputs if each.classes}
        self._tensors = [each for each in self._outputs if each.spec]
        self._bfloat16 = [each.name for each in self._inputs if each.spec and each.spec.dtype == BFLOAT16]
        self._has_bfloat16 = any(each.spec and each.spec.dtype == BFLOAT16 for each in (*self._inputs, *self._outputs))
        self.settings = _described(onnxruntime, options, self._session.get_providers())

    def run(self, inputs: Dict[str, np.ndarray]) -> List[np.ndarray]:
        """See :meth:`Engine.run`."""
        check_arrays(self.inputs, inputs)
        return list(self._run(self._tensors, inputs, {}))

    def run_values(self, values: Dict[str, Any]) -> Dict[str, Any]:
        """See :meth:`Engine.run_values`."""
        names = [spec.name for spec in self.inputs]
        arrays = {name: values[name] for name in names if name in values}
        known = {each.name for each in self.value_inputs}
        missing = [each.name for each in self.value_inputs if not each.optional and each.name not in values]
        unknown = sorted(set(values) - known - set(names))
        if missing or unknown:
            expected = [*names, *(each.name for each in self.value_inputs)]
            raise InvalidInput(f"inputs must be {expected}, got {sorted(values)}")
        check_arrays(self.inputs, arrays)
        others = {each.name: from_json(values[each.name], each.type, each.name) for each in self.value_inputs if each.name in values}
        return dict(zip((each.name for each in self._outputs), self._run(self._outputs, arrays, others)))

    def _run(self, wanted: List[Port], arrays: Dict[str, np.ndarray], others: Dict[str, Any]) -> List[Any]:
        feeds = {name: to_runtime(name, np.asarray(native(array), order="C")) for name, array in arrays.items()}
        names = [each.name for each in wanted]
        with computing(self.name, arrays):
            if self._has_bfloat16:
                results = run_with_bfloat16(self._onnxruntime, self._session, names, {**feeds, **others}, self._bfloat16)
            else:
                results = self._session.run(names, {**feeds, **others}, self._how)
        return [table_of(result, port) if port.classes else result for port, result in zip(wanted, results)]


def session_settings(onnxruntime: Any, options: EngineOptions) -> Any:
    """Return the ``onnxruntime.SessionOptions`` for one instance.

    Source: https://onnxruntime.ai/docs/performance/tune-performance/threading.html
    """
    tuning = dict(options.tuning)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.cpu_num_threads
    settings.inter_op_num_threads = int(tuning.get("inter_op_thread_count", "1"))
    parallel = tuning.get("execution_mode") == "1"
    settings.execution_mode = getattr(onnxruntime.ExecutionMode, "ORT_PARALLEL" if parallel else "ORT_SEQUENTIAL")
    settings.enable_cpu_mem_arena = tuning.get("enable_mem_arena", "1") == "1"
    settings.enable_mem_pattern = tuning.get("enable_mem_pattern", "1") == "1" and not parallel
    entries = {
        # Waiting threads would otherwise burn the cores that other instances compute on.
        "session.intra_op.allow_spinning": "0",
        **{key: value for key, value in tuning.items() if key.startswith("session.")},
    }
    for key, value in entries.items():
        settings.add_session_config_entry(key, value)
    settings.log_severity_level = _ERRORS_ONLY
    level = "ORT_ENABLE_ALL" if options.ir_optim else "ORT_DISABLE_ALL"
    level = _GRAPH_LEVELS.get(tuning.get("optimization.graph.level", ""), level)
    settings.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    return settings


def _open(onnxruntime: Any, files: ModelFiles, options: EngineOptions) -> Any:
    settings = session_settings(onnxruntime, options)

    def session(path: Path) -> Any:
        with loading(OnnxRuntimeEngine.name, files):
            return open_session(onnxruntime, path, settings, options)

    if files.graph.suffix == ".onnx":
        return session(files.graph)
    converted = onnx_of(files)
    try:
        return session(converted)
    except NoGpu:
        raise
    except LoadFailed:
        return session(onnx_of(files, again=True))  # the kept conversion may have been damaged since


def _described(onnxruntime: Any, options: EngineOptions, providers: Sequence[str]) -> Dict[str, Any]:
    """Return what a session runs with, for people to read."""
    found: Dict[str, Any] = {"version": onnxruntime.__version__, "device": "cpu", "threads": options.cpu_num_threads, "precision": "fp32"}
    if options.use_gpu:
        found.update(device="gpu", providers=list(providers))
    if options.use_fp16 and options.use_tensorrt:
        found["precision"] = "fp16"
    elif options.use_fp16 and options.use_gpu:
        found["warnings"] = ["use_fp16 changes nothing without use_tensorrt: ONNX Runtime computes in the precision of the file"]
    return found
