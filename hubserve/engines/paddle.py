"""Paddle Inference: the reference engine, and the one for GPUs."""

from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np

from hubserve.engines.base import Engine, EngineOptions, ModelFiles, refuse_empty
from hubserve.engines.failures import computing, loading
from hubserve.engines.model_formats import backend_of_file
from hubserve.engines.package_imports import import_paddle
from hubserve.engines.paddle_config import build_config, check_gpu
from hubserve.engines.paddle_program import Program, read_program
from hubserve.errors import LoadFailed
from hubserve.types import check_arrays, native


class PaddleEngine(Engine):
    """Paddle Inference: ``.pdmodel`` and Paddle 3's ``.json`` files. Holds the interpreter's lock while it computes."""

    name = "paddle"
    has_gpu = True

    @classmethod
    def reads(cls, graph: Path) -> bool:
        """Return True for Paddle's own files only."""
        return backend_of_file(graph) in ("paddle", "")

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        if not self.reads(files.graph):
            raise LoadFailed(
                f"the paddle engine does not read '{files.graph.name}'. Use engine 'onnxruntime' or 'openvino' for ONNX files."
            )
        # Read first: Paddle's own parser crashes the process on some damaged files.
        program = read_program(files.graph)
        paddle = import_paddle()
        if options.use_gpu:
            check_gpu(paddle)
        self.inputs, self.outputs = program.inputs, program.outputs
        self._create: Callable[[EngineOptions], _Predictor] = lambda chosen: _Predictor(paddle, files, chosen, program)
        self._options = options
        with loading(self.name, files, "paddlepaddle"):
            self._predictor = self._create(options)
        self._version = paddle.__version__
        self.settings = _settings(self._version, options)

    def run(self, inputs: Dict[str, np.ndarray]) -> List[np.ndarray]:
        """See :meth:`Engine.run`."""
        check_arrays(self.inputs, inputs)
        refuse_empty(self.name, inputs)
        with computing(self.name, inputs):
            try:
                return self._predictor.run(inputs)
            except NotImplementedError as error:
                if "onednn" not in str(error).lower() or not self._options.enable_mkldnn:
                    raise
            # Paddle finds only now that oneDNN lacks one of this model's operators.
            self._options = self._options._replace(enable_mkldnn=False)
            self._predictor = self._create(self._options)
            self.settings = {**_settings(self._version, self._options), "onednn": "off: it lacks an operator of this model"}
            return self._predictor.run(inputs)


class _Predictor:
    """Paddle's predictor with arrays going in and out."""

    def __init__(self, paddle: Any, files: ModelFiles, options: EngineOptions, program: Program) -> None:
        self._predictor = paddle.inference.create_predictor(build_config(paddle, files, options, program))
        self._handles: Dict[str, Any] = {name: self._predictor.get_input_handle(name) for name in self._predictor.get_input_names()}
        self._results = [self._predictor.get_output_handle(name) for name in self._predictor.get_output_names()]

    def run(self, inputs: Dict[str, np.ndarray]) -> List[np.ndarray]:
        for name, handle in self._handles.items():
            array = np.asarray(native(inputs[name]), order="C")
            handle.reshape(array.shape)
            handle.copy_from_cpu(array)
        self._predictor.run()
        return [result.copy_to_cpu() for result in self._results]


def _settings(version: str, options: EngineOptions) -> Dict[str, Any]:
    common = {"version": version, "device": "gpu" if options.use_gpu else "cpu"}
    if options.use_gpu:
        return {**common, "tensorrt": options.use_tensorrt, "precision": "fp16" if options.use_fp16 else "fp32"}
    return {**common, "threads": options.cpu_num_threads, "onednn": options.enable_mkldnn, "precision": "fp32"}
