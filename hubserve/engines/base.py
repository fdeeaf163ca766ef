"""Base class of engines, and the options and files that they load a model from."""

from abc import ABC, abstractmethod
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from hubserve.errors import InvalidInput
from hubserve.types import TensorSpec


class Signature(NamedTuple):
    """Inputs and outputs of a model, for files that do not declare them."""

    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]


class EngineOptions(NamedTuple):
    """Options for running a model, named as in PaddleHub and PaddleClas where these have a name.

    Attributes:
        use_gpu: compute on the first visible GPU.
        gpu_mem: MiB of GPU memory to take at the start.
        enable_mkldnn: Paddle engine on a CPU: use oneDNN.
        cpu_num_threads: threads for one call.
        use_tensorrt: Paddle and ONNX Runtime on a GPU: compile subgraphs with TensorRT.
        use_fp16: half precision on a GPU (changes answers slightly).
        ir_optim: let the engine rewrite the graph.
        enable_memory_optim: let the engine reuse buffers.
        max_batch_size: the largest batch that will be asked for; TensorRT is sized by it.
        sample_shape: one item of the first input as it usually comes, without the batch; where the model leaves lengths open, engines are
            compared and timed with these.
        signature: of a file that does not say it itself; other engines do not look at it.
        tuning: name and value of each further setting of one engine alone; those of :mod:`hubserve.engines.tuning`.
    """

    use_gpu: bool = False
    gpu_mem: int = 8000
    enable_mkldnn: bool = True
    cpu_num_threads: int = 1
    use_tensorrt: bool = False
    use_fp16: bool = False
    ir_optim: bool = True
    enable_memory_optim: bool = True
    max_batch_size: int = 32
    sample_shape: Sequence[int] = ()
    signature: Optional[Signature] = None
    tuning: Sequence[Tuple[str, str]] = ()


def options_of(listed: Sequence[Any]) -> EngineOptions:
    """Rebuild options from JSON."""
    options = EngineOptions(*listed)
    return options._replace(
        signature=signature_of(options.signature), tuning=tuple((str(key), str(value)) for key, value in options.tuning)
    )


def signature_of(sides: Optional[Sequence[Any]]) -> Optional[Signature]:
    """Rebuild a signature from JSON."""
    if sides is None:
        return None
    inputs, outputs = ([TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in side] for side in sides)
    return Signature(inputs, outputs)


class Value(NamedTuple):
    """An input or output that is not a tensor, or may be left out: JSON requests can have it, tensors cannot.

    Attributes:
        name: the file's name for it.
        type: the engine's word for what it is, such as ``seq(tensor(float))``.
        optional: whether a request may leave it out.
    """

    name: str
    type: str
    optional: bool = False


class ModelFiles(NamedTuple):
    """The files of one model on disk.

    Attributes:
        graph: a file of one of :data:`hubserve.engines.model_formats.FORMATS`, or the folder that is the model, such as a SavedModel.
        weights: ``*.pdiparams``; None where the graph holds them.
    """

    graph: Path
    weights: Optional[Path]


class Engine(ABC):
    """A loaded model. Not thread-safe: one call at a time.

    Its inputs are :data:`~hubserve.types.BYTES` for texts, and :data:`~hubserve.types.BFLOAT16` only where the engine says so.
    """

    name: str
    #: what is imported, where that is called otherwise than the engine
    package: str = ""
    #: the environment profile to run in where this Python does not have the package; "" for none
    profile: str = ""
    #: whether it can compute on a GPU
    has_gpu: bool = False
    #: the package that computes on GPUs, if the usual one computes on CPUs only
    gpu_package: str = ""
    #: the environment profile to run in on a GPU where this Python does not have :attr:`gpu_package`; "" for :attr:`profile`
    gpu_profile: str = ""
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    #: False if items of one batch change one another's answers, so that neither may requests be merged nor batches filled up
    counts_items: bool = True
    #: inputs and outputs that are not tensors; see :meth:`run_values`
    value_inputs: Sequence[Value] = ()
    value_outputs: Sequence[Value] = ()
    #: output -> the names of its classes, by index, if the file has them
    labels: Mapping[str, Sequence[str]] = MappingProxyType({})
    #: why this engine was chosen, for people to read
    reason: str = ""
    #: where engines were compared to choose this one: the figures of each, as :func:`hubserve.engines.selection_policy.decide` records them
    measured: Mapping[str, Any] = MappingProxyType({})
    #: what it runs with: version, device, threads, precision
    settings: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        """Load a model; see :func:`hubserve.engines.load_engine` for the errors."""

    @classmethod
    @abstractmethod
    def reads(cls, graph: Path) -> bool:
        """Return True if the engine reads files of this format, judged by the graph's name alone."""

    @abstractmethod
    def run(self, inputs: Dict[str, np.ndarray]) -> List[np.ndarray]:
        """Compute one batch.

        Args:
            inputs: name to array, as :attr:`inputs` says; any memory order, read-only or not.
        Returns:
            One array per output, in the order of :attr:`outputs`; they stay valid after the next call.

        Raises:
            InvalidInput: the names, dtypes or shapes are not those of :attr:`inputs`.
            ModuleFailed: the engine could not compute them.
        """

    def run_values(self, values: Dict[str, Any]) -> Dict[str, Any]:
        """Compute one request whose values may also be JSON: lists for sequences, objects for maps.

        Args:
            values: name to array for each of :attr:`inputs`, and name to lists or objects for :attr:`value_inputs`.
        Returns:
            Name to array, list or object for all outputs.
        """
        return dict(zip((spec.name for spec in self.outputs), self.run(values)))

    def describe(self) -> Dict[str, Any]:
        """Describe the engine as JSON for people: name, reason, the settings that matter, and ``measured`` if engines were compared."""
        described = {"name": self.name, "reason": self.reason, **self.settings}
        return {**described, "measured": dict(self.measured)} if self.measured else described


def refuse_empty(engine: str, inputs: Mapping[str, np.ndarray]) -> None:
    """Raise InvalidInput for arrays without elements, which some engines compute wrongly or not at all."""
    for name, array in inputs.items():
        if not array.size:
            raise InvalidInput(f"input '{name}' is empty, its shape is {list(array.shape)}: the {engine} engine needs at least one item")
