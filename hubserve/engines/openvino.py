"""OpenVINO: a fast CPU engine that reads ``.pdmodel``, ``.onnx`` and SavedModels as they are, and PyTorch's and Keras's files converted."""

from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import numpy as np

from hubserve.engines.base import Engine, EngineOptions, ModelFiles, Signature
from hubserve.engines.failures import computing, loading
from hubserve.engines.model_files import usual_names
from hubserve.engines.model_formats import backend_of_file
from hubserve.engines.openvino_conversion import converts, ir_of, signature_in
from hubserve.engines.package_imports import import_package
from hubserve.engines.paddle_program import read_program
from hubserve.engines.tensorflow_saved_model import choose, read_saved_model, why_alone
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
    """OpenVINO on the CPU: its own files, those of Paddle 2 and ONNX, SavedModels; after a conversion PyTorch's and Keras's files."""

    name = "openvino"

    @classmethod
    def reads(cls, graph: Path) -> bool:
        """Return True for these formats; whether a file of them converts is known when it is loaded."""
        if graph.suffix == ".json":
            return False
        backend = backend_of_file(graph)
        return backend in ("openvino", "onnxruntime", "paddle", "tensorflow", "") or (backend == "pytorch" and converts(graph))

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        if not self.reads(files.graph):
            raise LoadFailed(
                f"OpenVINO does not read Paddle 3's '{files.graph.name}'. Use engine 'paddle' or 'onnxruntime', "
                "or export the model as inference.pdmodel (FLAGS_enable_pir_api=0)."
            )
        source = _source(files, options)
        openvino: Any = import_package("openvino", "the openvino engine", _INSTALL)
        core = openvino.Core()
        self._compile: Callable[[], Any] = lambda: core.compile_model(source.read(core), "CPU", compile_settings(options))
        with loading(self.name, files):
            compiled = self._compile()
            signature = signature_in(source.read(core)) if source.by_place else source.signature
            self._request = compiled.create_infer_request()
            self._names = _names(compiled.inputs, signature, source.by_place)
            self._results = list(range(len(compiled.outputs)))
            if signature is None:
                self.inputs = [_spec(port, name) for port, name in zip(compiled.inputs, self._names)]
                self.outputs = [_spec(port, _name_among(port, None)) for port in compiled.outputs]
            else:
                self.inputs, self.outputs = list(signature.inputs), list(signature.outputs)
                self._results = self._results if source.by_place else _ordered(compiled.outputs, signature)
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


class _Source(NamedTuple):
    """Source of a model.

    Attributes:
        read: gives its graph; called with OpenVINO's core.
        signature: its tensors, found in the graph by name; None where the graph describes them itself.
        by_place: whether the graph was converted, and notes a signature in the order of its tensors.
    """

    read: Callable[[Any], Any]
    signature: Optional[Signature] = None
    by_place: bool = False


def _source(files: ModelFiles, options: EngineOptions) -> _Source:
    graph = files.graph
    if graph.suffix in _OWN:
        return _Source(lambda core: core.read_model(str(graph)))  # the weights of an .xml are beside it, in a .bin
    if converts(graph) and graph.is_file():
        return _Source(lambda core: _read_converted(core, files, options), by_place=True)
    if backend_of_file(graph) == "tensorflow":
        tuning = dict(options.tuning)
        chosen = choose(graph, read_saved_model(graph), tuning)
        alone = why_alone(chosen)
        if alone:
            raise LoadFailed(f"OpenVINO does not compute '{graph.name}': {alone}. Use engine 'tensorflow'.")
        return _Source(lambda core: core.read_model(str(graph)), Signature(chosen.tensors.inputs, chosen.tensors.outputs))
    program = read_program(graph)
    return _Source(lambda core: _read_paddle(core, files), Signature(program.inputs, program.outputs))


def _read_paddle(core: Any, files: ModelFiles) -> Any:
    with usual_names(files) as (graph, weights):
        return core.read_model(str(graph), str(weights))


def _read_converted(core: Any, files: ModelFiles, options: EngineOptions) -> Any:
    try:
        return core.read_model(str(ir_of(files, options)))
    except RuntimeError:
        return core.read_model(str(ir_of(files, options, again=True)))  # the kept conversion may have been damaged since


def _names(ports: Any, signature: Optional[Signature], by_place: bool) -> List[str]:
    """Return the name of each port's array."""
    known = [spec.name for spec in signature.inputs] if signature else None
    return list(known) if known is not None and by_place else [_name_among(port, known) for port in ports]


def _name_among(port: Any, names: Optional[List[str]]) -> str:
    known = sorted(port.get_names())
    if names is None:
        return known[0] if known else str(port.get_index())
    return next(name for name in names if name in known)


def _ordered(ports: Any, signature: Signature) -> List[int]:
    position = {name: index for index, port in enumerate(ports) for name in port.get_names()}
    # an output without a name of its own (it was folded into a constant, say) keeps its place
    return [position.get(spec.name, index) for index, spec in enumerate(signature.outputs)]


def _spec(port: Any, name: str) -> TensorSpec:
    dtype = _DTYPES.get(port.get_element_type().get_type_name(), "")
    if dtype not in DTYPES:
        raise LoadFailed(f"tensor '{name}' has element type {port.get_element_type()}, which cannot be served")
    lengths = port.get_partial_shape()
    if lengths.rank.is_dynamic:
        return TensorSpec(name, dtype, (REST,))
    return TensorSpec(name, dtype, tuple(ANY if length.is_dynamic else int(length.get_length()) for length in lengths))
