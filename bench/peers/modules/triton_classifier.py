"""What Triton's Python backend serves in classifier.py."""

import os

import numpy as np
import triton_python_backend_utils as triton
from classifier_engine import Classifier


class TritonPythonModel:
    """The default classifier."""

    def initialize(self, _):
        """Load the model."""
        self.classifier = Classifier(os.environ["CLASSIFIER_FOLDER"], os.environ["CLASSIFIER_ENGINE"])

    def execute(self, requests):
        """Map IMAGES float32 (N, 3, 224, 224) of each request to CLASS_IDS int64 (N, 5) and SCORES float32 (N, 5)."""
        images = [triton.get_input_tensor_by_name(request, "IMAGES").as_numpy() for request in requests]
        class_ids, scores = self.classifier.best(np.concatenate(images) if len(images) > 1 else images[0])
        ends = np.cumsum([len(each) for each in images])[:-1]
        return [
            triton.InferenceResponse([triton.Tensor("CLASS_IDS", ids), triton.Tensor("SCORES", values)])
            for ids, values in zip(np.split(class_ids, ends), np.split(scores, ends), strict=True)
        ]
