"""The served models, as the modules of the same server may use them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from hubserve.errors import ModuleNotFound, Unavailable
from hubserve.gateway.served_model import ServedModule
from hubserve.types import BFLOAT16, InferRequest, InferResponse
from hubserve.wire.model_access import ModelAccess


class ServedModels(Protocol):
    """The served modules by name, for those that call others by their names."""

    def get(self, name: str, version: str | None = None) -> ServedModule:
        """Return a served module; see :meth:`hubserve.gateway.dataplane.DataPlane.get`."""

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer one request; see :meth:`hubserve.gateway.dataplane.DataPlane.infer`."""

    def stream(self, request: InferRequest) -> AsyncIterator[InferResponse]:
        """Answer one request by any number of responses; see :meth:`hubserve.gateway.dataplane.DataPlane.stream`."""


class DirectModelAccess(ModelAccess):
    """Access to the models as the data plane has them, without loading and unloading.

    Args:
        models: the served ones.
    """

    def __init__(self, models: ServedModels) -> None:
        self._models = models

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer a request by exactly one response."""
        return await self._models.infer(request)

    def stream(self, request: InferRequest) -> AsyncIterator[InferResponse]:
        """Answer a request by any number of responses."""
        return self._models.stream(request)

    def is_ready(self, name: str, version: str | None) -> bool:
        """Return True if a model is served and ready."""
        try:
            return self._models.get(name, version).ready
        except ModuleNotFound:
            return False

    def bfloat16_outputs(self, name: str, version: str | None) -> Sequence[str]:
        """Return the names of a model's bfloat16 outputs; empty if it is not served."""
        try:
            outputs = self._models.get(name, version).description.outputs
        except ModuleNotFound:  # it was unloaded meanwhile
            return ()
        return [spec.name for spec in outputs if spec.dtype == BFLOAT16]

    async def load(self, name: str, config: str, files: Mapping[str, bytes]) -> None:  # noqa: ARG002 - the interface's
        """Refuse to load a model."""
        raise Unavailable(_NO_CONTROL)

    async def unload(self, name: str, dependents: bool) -> None:  # noqa: ARG002 - the interface's
        """Refuse to unload a model."""
        raise Unavailable(_NO_CONTROL)


_NO_CONTROL = "this server does not load and unload models on request; start it with --model-control explicit"
