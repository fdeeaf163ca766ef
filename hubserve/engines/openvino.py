"""OpenVINO: a fast CPU engine that reads ``.pdmodel`` and ``.onnx`` files as they are."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import numpy as np

from hubserve.engines.base import Engine, EngineOptions, ModelFiles
from hubserve.engines.failures import computing, loading
from hubserve.engines.model_files import usual_names
from hubserve.engines.model_formats import backend_of_file
from hubserve.engines.package_imports import import_package
from hubserve.engines.paddle_program import Program, read_program
from hubserve.errors import LoadFailed
from hubserve.types import ANY, DTYPES, REST, TensorSpec, check_arrays, native

_INSTALL = "Install it with: pip install openvino (or: pip install 'hubserve[fast]')."
#: endings of files that it describes itself
_OWN = (".onnx", ".xml")
_PRECISIONS = {"f32": "fp32", "f16": "fp16"}
_DTYPES = {
    "boolean": "bool",
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
}


def compile_settings(options: EngineOptions) -> Dict[str, Any]:
    """Return OpenVINO's properties for one instance.

    Source: https://docs.openvino.ai/2026/openvino-workflow/running-inference/inference-devices-and-modes/cpu-device.html
    """
    return {
        # By default it computes in bf16 where the CPU can, which changes answers, and pins every process to the same cores.
        "INFERENCE_PRECISION_HINT": "f16" if options.use_fp16 else "f32",
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_NUM_THREADS": options.cpu_num_threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }


class OpenVinoEngine(Engine):
    """OpenVINO on the CPU: files of Paddle 2, of ONNX and its own."""

    name = "openvino"

    @classmethod
    def reads(cls, graph: Path) -> bool:
        """Return True for its own files, those of ONNX, and of Paddle 2."""
        return graph.suffix != ".json" and backend_of_file(graph) in ("openvino", "onnxruntime", "paddle", "")

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        if not self.reads(files.graph):
            raise LoadFailed(
                f"OpenVINO does not read Paddle 3's '{files.graph.name}'. Use engine 'paddle' or 'onnxruntime', "
                "or export the model as inference.pdmodel (FLAGS_enable_pir_api=0)."
            )
        program = None if files.graph.suffix in _OWN else read_program(files.graph)
        openvino: Any = import_package("openvino", "the openvino engine", _INSTALL)
        core = openvino.Core()
        self._compile: Callable[[], Any] = lambda: core.compile_model(_read(core, files), "CPU", compile_settings(options))
        with loading(self.name, files):
            compiled = self._compile()
            self._request = compiled.create_infer_request()
            self._names = [_name_among(port, [spec.name for spec in program.inputs] if program else None) for port in compiled.inputs]
            self.inputs = program.inputs if program else [_spec(port, name) for port, name in zip(compiled.inputs, self._names)]
            self.outputs = program.outputs if program else [_spec(port, _name_among(port, None)) for port in compiled.outputs]
            self._results = _ordered(compiled.outputs, program)
        hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.settings = {
            "version": openvino.__version__.split("-")[0],
            "device": "cpu",
            "threads": options.cpu_num_threads,
            # what the CPU does with the hint: some compute in bf16 where fp16 is asked for
            "precision": _PRECISIONS.get(hint, hint),
        }

    def run(self, inputs: Dict[str, np.ndarray]) -> List[np.ndarray]:
        """See :meth:`Engine.run`."""
        check_arrays(self.inputs, inputs)
        arrays = [np.asarray(native(inputs[name]), order="C") for name in self._names]
        with computing(self.name, inputs):
            try:
                # Not infer(): with one thread it loses the plugin's errors and leaves the outputs of the call before.
                self._request.start_async(arrays, share_inputs=True)
                self._request.wait()
            except RuntimeError:
                # A compiled model that failed once fails from then on, whatever it is given.
                self._request = self._compile().create_infer_request()
                raise
            # copied: the request computes the next batch into the same memory
            return [np.array(self._request.get_output_tensor(index).data) for index in self._results]


def _read(core: Any, files: ModelFiles) -> Any:
    if files.graph.suffix in _OWN:
        return core.read_model(str(files.graph))  # the weights of an .xml are beside it, in a .bin
    with usual_names(files) as (graph, weights):
        return core.read_model(str(graph), str(weights))


def _name_among(port: Any, names: Optional[List[str]]) -> str:
    known = sorted(port.get_names())
    if names is None:
        return known[0] if known else str(port.get_index())
    return next(name for name in names if name in known)


def _ordered(ports: Any, program: Optional[Program]) -> List[int]:
    if program is None:
        return list(range(len(ports)))
    position = {name: index for index, port in enumerate(ports) for name in port.get_names()}
    # an output without a name of its own (it was folded into a constant, say) keeps its place
    return [position.get(spec.name, index) for index, spec in enumerate(program.outputs)]


def _spec(port: Any, name: str) -> TensorSpec:
    dtype = _DTYPES.get(port.get_element_type().get_type_name(), "")
    if dtype not in DTYPES:
        raise LoadFailed(f"tensor '{name}' has element type {port.get_element_type()}, which cannot be served")
    lengths = port.get_partial_shape()
    if lengths.rank.is_dynamic:
        return TensorSpec(name, dtype, (REST,))
    return TensorSpec(name, dtype, tuple(ANY if length.is_dynamic else int(length.get_length()) for length in lengths))
