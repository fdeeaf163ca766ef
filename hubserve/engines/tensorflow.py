"""TensorFlow."""

from pathlib import Path
from typing import Dict, List

import numpy as np

from hubserve.engines.base import Engine, EngineOptions, ModelFiles
from hubserve.engines.model_formats import backend_of_file
from hubserve.errors import LoadFailed


class TensorFlowEngine(Engine):
    """TensorFlow."""

    name = "tensorflow"
    package = "tensorflow"
    profile = "tensorflow"

    @classmethod
    def reads(cls, graph: Path) -> bool:
        """Return True for its own files."""
        return backend_of_file(graph) == "tensorflow"

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        raise LoadFailed("not written yet")

    def run(self, inputs: Dict[str, np.ndarray]) -> List[np.ndarray]:
        """See :meth:`Engine.run`."""
        raise NotImplementedError
