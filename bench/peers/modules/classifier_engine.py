"""The classifier as every peer's workers compute it, with the settings that hubserve gives its engines; Python 3.8 and later.

A request is ``{"images": base64, "revert_params": {"shape", "dtype"}}``, an answer ``{"prediction": [...]}`` with one entry per image:
what hubserve's classifier takes and gives.
"""

import base64
import os

import numpy as np

MODEL_FILE, WEIGHTS_FILE, LABELS_FILE = "inference.pdmodel", "inference.pdiparams", "imagenet1k_label_list.txt"
MAX_BATCH_SIZE = 8
TOP_K = 5


class PaddleEngine:
    """Paddle Inference on one thread."""

    def __init__(self, folder, onednn=True):
        from paddle import inference

        config = inference.Config(os.path.join(folder, MODEL_FILE), os.path.join(folder, WEIGHTS_FILE))
        config.disable_glog_info()
        config.switch_ir_optim(True)
        config.enable_memory_optim(True)
        config.disable_gpu()
        config.set_cpu_math_library_num_threads(1)
        if onednn:
            config.enable_mkldnn()
            config.set_mkldnn_cache_capacity(MAX_BATCH_SIZE)
        elif hasattr(config, "disable_mkldnn"):  # Paddle 3 has it on by default, Paddle 2 neither has nor needs this
            config.disable_mkldnn()
        self._predictor = inference.create_predictor(config)
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])

    def run(self, images):
        """Map float32 (N, 3, 224, 224) to probabilities float32 (N, 1000)."""
        self._input.copy_from_cpu(np.ascontiguousarray(images))
        self._predictor.run()
        return self._output.copy_to_cpu()


class OpenVinoEngine:
    """OpenVINO on one thread, in float32, and not pinned to the core that every such process would be pinned to."""

    def __init__(self, folder):
        import openvino

        settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
        core = openvino.Core()
        self._compiled = core.compile_model(core.read_model(os.path.join(folder, MODEL_FILE)), "CPU", settings)
        self._request = self._compiled.create_infer_request()

    def run(self, images):
        """Map float32 (N, 3, 224, 224) to probabilities float32 (N, 1000)."""
        self._request.infer([np.ascontiguousarray(images)])
        return self._request.get_output_tensor(0).data.copy()


class Classifier:
    """An engine and the names of the classes."""

    def __init__(self, folder, engine="paddle", onednn=True):
        self._engine = OpenVinoEngine(folder) if engine == "openvino" else PaddleEngine(folder, onednn)
        with open(os.path.join(folder, LABELS_FILE), encoding="utf-8") as file:
            self._labels = [line.strip().partition(" ")[2] for line in file if line.strip()]

    def best(self, images):
        """Map float32 (N, 3, 224, 224) to class numbers int64 (N, 5) and their scores float32 (N, 5), best first."""
        scores = self._engine.run(images)
        numbers = np.argsort(-scores, axis=1, kind="stable")[:, :TOP_K]
        return numbers, np.take_along_axis(scores, numbers, axis=1)

    def predict(self, images):
        """Map float32 (N, 3, 224, 224) to one dict per image."""
        return [
            {
                "class_ids": numbers.tolist(),
                "scores": [round(float(score), 5) for score in scores],
                "label_names": [self._labels[number] for number in numbers],
            }
            for numbers, scores in zip(*self.best(images))  # noqa: B905  # Python 3.8 has no strict=
        ]


def decode(images, revert_params):
    """Decode base64 text with its ``{"shape", "dtype"}`` to an array."""
    return np.frombuffer(base64.b64decode(images), revert_params["dtype"]).reshape(revert_params["shape"])
