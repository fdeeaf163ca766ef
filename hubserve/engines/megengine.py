"""MegEngine Lite: ``.mge`` files, as MegEngine's ``trace.dump`` writes them."""

from pathlib import Path
from typing import Dict, List

import numpy as np

from hubserve.engines.base import Engine, EngineOptions, ModelFiles, refuse_empty
from hubserve.engines.failures import computing, loading
from hubserve.engines.megengine_lengths import find_signature
from hubserve.engines.megengine_network import Network, check_length, gpus, import_lite
from hubserve.engines.model_formats import backend_of_file
from hubserve.errors import LoadFailed
from hubserve.types import check_arrays


class MegEngineEngine(Engine):
    """MegEngine Lite on the CPU or a GPU.

    A file records the lengths that it was traced with, and not which of them may vary: that is found out by computing
    (:mod:`hubserve.engines.megengine_lengths`). ``EngineOptions.signature`` says which more to try.
    """

    name = "megengine"
    package = "megenginelite"
    profile = "megengine"
    has_gpu = True

    @classmethod
    def reads(cls, graph: Path) -> bool:
        """Return True for its own files."""
        return backend_of_file(graph) == "megengine"

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        if not self.reads(files.graph):
            raise LoadFailed(f"the megengine engine does not read '{files.graph.name}'. Give it a model.mge, as MegEngine dumps it.")
        check_length(files.graph)
        if options.use_gpu and not gpus(import_lite()):
            raise LoadFailed(
                "a GPU is asked for, and MegEngine finds none here. Check nvidia-smi and CUDA_VISIBLE_DEVICES, or use the CPU."
            )
        version = str(import_lite().version)
        with loading(self.name, files):
            self.inputs, self.outputs = find_signature(files, options, version)
            self._network = Network(files.graph, options.cpu_num_threads, options.use_gpu)
            # the first call takes several times as long as the next ones; lengths that are open here cannot be warmed up by others
            self._network.compute({spec.name: np.zeros(spec.shape, spec.dtype) for spec in self._network.inputs})
        device = "cuda" if options.use_gpu else "cpu"
        self.settings = {"version": version, "device": device, "threads": options.cpu_num_threads, "precision": "fp32"}

    def run(self, inputs: Dict[str, np.ndarray]) -> List[np.ndarray]:
        """See :meth:`Engine.run`."""
        check_arrays(self.inputs, inputs)
        refuse_empty(self.name, inputs)
        with computing(self.name, inputs):
            return self._network.compute(inputs)
