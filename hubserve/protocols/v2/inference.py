"""What the protocol says, whatever carries it: HTTP and gRPC translate to and from this."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hubserve.protocols.v2.logs import Logs
from hubserve.protocols.v2.repository import Repository
from hubserve.protocols.v2.shared_memory import CudaSharedMemory, SharedMemory
from hubserve.protocols.v2.statistics import model_statistics
from hubserve.protocols.v2.tracing import Traces
from hubserve.serving.dataplane import DataPlane
from hubserve.settings import ServerSettings
from hubserve.types import SequencePart


@dataclass(slots=True)
class InputTensor:
    """One input of a request.

    Attributes:
        name: its name.
        datatype: the protocol's, such as "FP32".
        shape: one length per dimension.
        data: the array, of that shape and of the dtype that :mod:`hubserve.protocols.v2.datatypes` says.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: np.ndarray


@dataclass(slots=True)
class RequestedOutput:
    """One output that a request asks for.

    Attributes:
        name: its name.
        parameters: such as ``classification`` (number of classes), which is handled here; the others are the transport's.
    """

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class InferCall:
    """One request.

    Attributes:
        model: the served name.
        version: "" for the default.
        id: the client's; given back.
        parameters: the client's.
        inputs: what it sent.
        outputs: what it asks for; none for all.
        deadline: on the clock of ``time.monotonic``; None for none.
        priority: lower ones are computed first.
        sequence: the sequence that it is part of, if any.
    """

    model: str
    version: str = ""
    id: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: list[InputTensor] = field(default_factory=list)
    outputs: list[RequestedOutput] = field(default_factory=list)
    deadline: float | None = None
    priority: int = 0
    sequence: SequencePart | None = None


@dataclass(slots=True)
class OutputTensor:
    """One output of an answer; as :class:`InputTensor`.

    Attributes:
        requested: how the client asked for it; None if it asked for nothing in particular.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    array: np.ndarray
    requested: RequestedOutput | None = None


@dataclass(slots=True)
class InferResult:
    """The answer to one request; the outputs in the order of the model's configuration."""

    model_name: str
    model_version: str
    id: str
    outputs: list[OutputTensor]
    parameters: dict[str, Any] = field(default_factory=dict)


class V2Inference:
    """The protocol over the data plane. Every answer that is a dict is the JSON of the protocol's HTTP form.

    Args:
        dataplane: the served modules.
        settings: the server's.

    Attributes:
        repository: what could be served.
        shared_memory, cuda_shared_memory: regions that clients have registered.
        traces, logs: their settings.
    """

    def __init__(self, dataplane: DataPlane, settings: ServerSettings) -> None:
        self.dataplane = dataplane
        self.settings = settings
        self.repository = Repository()
        self.shared_memory = SharedMemory(settings)
        self.cuda_shared_memory = CudaSharedMemory()
        self.traces = Traces(settings, dataplane)
        self.logs = Logs()

    def live(self) -> bool:
        """Whether the server answers at all."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether every module can answer."""
        raise NotImplementedError

    def model_ready(self, name: str, version: str = "") -> bool:
        """Whether a model can answer.

        Raises:
            ModuleNotFound: it is not served.
        """
        raise NotImplementedError

    def server_metadata(self) -> dict[str, Any]:
        """``{"name", "version", "extensions"}``."""
        raise NotImplementedError

    async def model_metadata(self, name: str, version: str = "") -> dict[str, Any]:
        """``{"name", "versions", "platform", "inputs", "outputs"}``; waits until the model is loaded.

        Raises:
            ModuleNotFound: it is not served.
        """
        raise NotImplementedError

    async def model_config(self, name: str, version: str = "") -> dict[str, Any]:
        """The model's configuration, as the JSON form of ``inference.ModelConfig``; waits until the model is loaded.

        Raises:
            ModuleNotFound: it is not served.
        """
        raise NotImplementedError

    def statistics(self, name: str = "", version: str = "") -> dict[str, Any]:
        """``{"model_stats": [...]}`` of one model or all.

        Raises:
            ModuleNotFound: it is not served.
        """
        modules = [self.dataplane.get(name, version or None)] if name else [module for module in self.dataplane if module.is_loaded]
        return {"model_stats": [model_statistics(module) for module in modules]}

    async def infer(self, call: InferCall) -> InferResult:
        """Answer one request.

        Raises:
            HubError: see :mod:`hubserve.protocols.v2.errors` for what each is called.
        """
        raise NotImplementedError

    def stream(self, call: InferCall) -> AsyncIterator[InferResult]:
        """Answer one request by as many results as its model gives; one that is not decoupled gives exactly one.

        Raises:
            HubError: as :meth:`infer`; also after some results.
        """
        raise NotImplementedError
