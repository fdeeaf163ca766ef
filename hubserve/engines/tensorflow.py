"""TensorFlow: SavedModels, of TensorFlow 2 and 1, and Keras models."""

import os
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np

from hubserve.engines.base import Engine, EngineOptions, ModelFiles
from hubserve.engines.failures import computing, loading
from hubserve.engines.keras_files import KERAS_ENDINGS, check_keras
from hubserve.engines.model_formats import backend_of_file
from hubserve.engines.package_imports import import_package
from hubserve.engines.tensorflow_failures import plainly
from hubserve.engines.tensorflow_keras import Keras
from hubserve.engines.tensorflow_saved_model import choose, read_saved_model
from hubserve.engines.tensorflow_signatures import Computation, FirstSession, Functions
from hubserve.errors import LoadFailed
from hubserve.types import BFLOAT16, BYTES, TensorSpec, check_arrays, native

_INSTALL = "Install it with: pip install tensorflow-cpu (or, for GPUs: pip install 'tensorflow[and-cuda]')."
_INTER = "TF_NUM_INTER_THREADS"


class TensorFlowEngine(Engine):
    """TensorFlow on the CPU or a GPU: SavedModels by one of their signatures, and models that Keras saved.

    Tensors are called as the signature, or the Keras model, calls them; those of a signature, which have no order, are sorted by name.
    """

    name = "tensorflow"
    package = "tensorflow"
    profile = "tensorflow"
    has_gpu = True
    gpu_package = "tensorflow"
    gpu_profile = "tensorflow-gpu"

    @classmethod
    def reads(cls, graph: Path) -> bool:
        """Return True for the folder of a SavedModel, and Keras's files."""
        return backend_of_file(graph) == "tensorflow"

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        if not self.reads(files.graph):
            raise LoadFailed(f"TensorFlow does not read '{files.graph.name}'. Give it the folder of a SavedModel, or a .keras file.")
        tuning = dict(options.tuning)
        is_keras = files.graph.suffix.lower() in KERAS_ENDINGS and files.graph.is_file()
        if is_keras:
            check_keras(files.graph)
        else:
            chosen = choose(files.graph, read_saved_model(files.graph), tuning)
        tensorflow = _import()
        intra, inter = options.cpu_num_threads, int(tuning.get(_INTER, "0")) or 1
        device = _prepare(tensorflow, options.use_gpu, intra, inter)
        self._bfloat16 = tensorflow.bfloat16.as_numpy_dtype
        with loading(self.name, files, self.package), plainly(tensorflow):
            if is_keras:
                self._computation: Computation = Keras(tensorflow, files.graph)
            elif chosen.graph.has_objects:
                self._computation = Functions(tensorflow, files.graph, chosen)
            else:
                self._computation = FirstSession(tensorflow, files.graph, chosen)
        self._tensorflow = tensorflow
        self.inputs: List[TensorSpec] = list(self._computation.inputs)
        self.outputs: List[TensorSpec] = list(self._computation.outputs)
        threads = tensorflow.config.threading.get_intra_op_parallelism_threads() or intra
        self.settings = {"version": tensorflow.__version__, "device": device, "threads": threads, "precision": "fp32"}
        if self._computation.described:
            self.settings = {**self.settings, **self._computation.described}

    def run(self, inputs: Dict[str, np.ndarray]) -> List[np.ndarray]:
        """See :meth:`Engine.run`."""
        check_arrays(self.inputs, inputs)
        with computing(self.name, inputs), plainly(self._tensorflow):
            given = self._computation.run({spec.name: self._to_tensorflow(spec, inputs[spec.name]) for spec in self.inputs})
        return [_from_tensorflow(spec, given[spec.name]) for spec in self.outputs]

    def export(self, folder: Path) -> None:
        """Write a Keras model as a SavedModel whose tensors are called by their places, for other engines to read.

        Raises:
            LoadFailed: it is not a Keras model.
        """
        if not isinstance(self._computation, Keras):
            raise LoadFailed("it is a SavedModel already")
        self._computation.export(folder)

    def _to_tensorflow(self, spec: TensorSpec, array: np.ndarray) -> np.ndarray:
        if spec.dtype == BYTES:
            return np.asarray(array, dtype=object)
        plain = np.asarray(native(array), order="C")
        return plain.view(self._bfloat16) if spec.dtype == BFLOAT16 else plain


def _from_tensorflow(spec: TensorSpec, value: Any) -> np.ndarray:
    """Return an array of one output; TensorFlow gives plain values in place of arrays without dimensions."""
    if spec.dtype == BYTES:
        texts = np.empty(np.shape(value), object)
        texts[...] = value
        return texts
    array = np.asarray(value)
    return array.view(np.uint16) if spec.dtype == BFLOAT16 else array


def _import() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # else each start logs which instructions the CPU has
    return import_package("tensorflow", "the tensorflow engine", _INSTALL)


def _prepare(tensorflow: Any, use_gpu: bool, intra: int, inter: int) -> str:
    """Choose device and threads of this process; what a model loaded before has fixed stays. Return the device.

    Raises:
        LoadFailed: there is no GPU to use.
    """
    config = tensorflow.config
    gpus = config.list_physical_devices("GPU")
    if use_gpu and not gpus:
        built = tensorflow.test.is_built_with_cuda() or tensorflow.test.is_built_with_rocm()
        why = (
            "TensorFlow finds none here. Check nvidia-smi and CUDA_VISIBLE_DEVICES"
            if built
            else ("this TensorFlow is a build for CPUs. Install the one for GPUs (pip install 'tensorflow[and-cuda]')")
        )
        raise LoadFailed(f"a GPU is asked for, and {why}, or use the CPU.")
    steps: List[Tuple[Any, ...]] = [
        (config.set_visible_devices, gpus[:1] if use_gpu else [], "GPU"),
        # else the first model of a process takes the whole memory of the GPU
        *((config.experimental.set_memory_growth, gpu, True) for gpu in gpus[: int(use_gpu)]),
        (config.threading.set_intra_op_parallelism_threads, intra),
        (config.threading.set_inter_op_parallelism_threads, inter),
    ]
    for step, *arguments in steps:
        try:
            step(*arguments)
        except (RuntimeError, ValueError):  # it has computed already: a module with several models
            continue
    return "gpu" if use_gpu else "cpu"
