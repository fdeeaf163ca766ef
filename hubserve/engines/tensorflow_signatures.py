"""Computations that TensorFlow loads from a SavedModel: functions of TensorFlow 2, or a session of TensorFlow 1."""

from abc import ABC, abstractmethod
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, Mapping, Sequence

import numpy as np

from hubserve.engines.tensorflow_saved_model import Chosen
from hubserve.types import TensorSpec

Arrays = Mapping[str, np.ndarray]


class Computation(ABC):
    """A loaded model.

    Attributes:
        inputs, outputs: in the order that clients see.
        described: facts for people, beside the engine's settings.
    """

    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    described: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def run(self, arrays: Arrays) -> Dict[str, Any]:
        """Compute one batch; raises TensorFlow's own errors.

        Args:
            arrays: name to array for all inputs; of bytes objects for texts, of TensorFlow's numpy dtype for bfloat16.
        Returns:
            Name to array for all outputs; those without dimensions are plain values.
        """


class Functions(Computation):
    """One signature of a SavedModel of TensorFlow 2. One trace computes batches of any size that the signature leaves open."""

    def __init__(self, tensorflow: Any, folder: Path, chosen: Chosen) -> None:
        self._constant = tensorflow.constant
        # its variables live as long as this object, which the function does not hold
        self._loaded = tensorflow.saved_model.load(str(folder), tags=sorted(chosen.graph.tags))
        self._function = self._loaded.signatures[chosen.name]
        self.inputs, self.outputs = chosen.tensors.inputs, chosen.tensors.outputs
        self.described = {"signature": chosen.name}

    def run(self, arrays: Arrays) -> Dict[str, Any]:
        """See the base class."""
        given = self._function(**{name: self._constant(array) for name, array in arrays.items()})
        return {name: tensor.numpy() for name, tensor in given.items()}


class FirstSession(Computation):
    """One signature of a SavedModel of TensorFlow 1.

    It runs in a session, as it did when it was made: functions cannot have inputs whose names Python keeps for itself, such as ``in``.
    """

    def __init__(self, tensorflow: Any, folder: Path, chosen: Chosen) -> None:
        first = tensorflow.compat.v1
        threading = tensorflow.config.threading
        graph = tensorflow.Graph()
        config = first.ConfigProto(
            intra_op_parallelism_threads=threading.get_intra_op_parallelism_threads(),
            inter_op_parallelism_threads=threading.get_inter_op_parallelism_threads(),
            device_count={} if tensorflow.config.get_visible_devices("GPU") else {"GPU": 0},
        )
        config.gpu_options.allow_growth = True
        self._session = first.Session(graph=graph, config=config)
        before = first.logging.get_verbosity()
        first.logging.set_verbosity(first.logging.ERROR)  # else it recommends the way that cannot load every model
        try:
            with graph.as_default():
                first.saved_model.loader.load(self._session, sorted(chosen.graph.tags), str(folder))
        finally:
            first.logging.set_verbosity(before)
        self.inputs, self.outputs = chosen.tensors.inputs, chosen.tensors.outputs
        feeds, fetches = chosen.tensors.operands
        self._compute = self._session.make_callable(
            [fetches[spec.name] for spec in self.outputs], feed_list=[feeds[spec.name] for spec in self.inputs]
        )
        self.described = {"signature": chosen.name}

    def run(self, arrays: Arrays) -> Dict[str, Any]:
        """See the base class."""
        given = self._compute(*(arrays[spec.name] for spec in self.inputs))
        return {spec.name: value for spec, value in zip(self.outputs, given)}
