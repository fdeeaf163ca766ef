"""Let modules use other models of the server by the signatures that clients see, and load and unload models."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import numpy as np

from hubserve.gateway.dataplane import DataPlane
from hubserve.gateway.model_access import DirectModelAccess
from hubserve.protocols.open_inference.core.catalog import ModelCatalog
from hubserve.protocols.open_inference.core.datatypes import datatype_of
from hubserve.protocols.open_inference.core.encode import FINAL
from hubserve.protocols.open_inference.core.inference import Inference
from hubserve.protocols.open_inference.core.repository import Repository
from hubserve.protocols.open_inference.core.types import InferCall, InferResult, InputTensor, RequestedOutput
from hubserve.types import InferRequest, InferResponse


class OpenInferenceAccess(DirectModelAccess):
    """Access to the server's models through the protocol.

    Args:
        dataplane: the served modules.
        catalog: finds models.
        inference: answers inference requests.
        repository: loads and unloads models.
    """

    def __init__(self, dataplane: DataPlane, catalog: ModelCatalog, inference: Inference, repository: Repository) -> None:
        super().__init__(dataplane)
        self._catalog = catalog
        self._inference = inference
        self._repository = repository

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer a request by exactly one response; see :meth:`Inference.infer`."""
        return _response(await self._inference.infer(await self._call(request)))

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse]:
        """Answer a request by any number of responses; see :meth:`Inference.stream`."""
        async with aclosing(self._inference.stream(await self._call(request))) as results:
            async for result in results:
                yield _response(result)

    async def load(self, name: str, config: str, files: Mapping[str, bytes]) -> None:
        """Load a model, or load it again."""
        await self._repository.load(name, {**({"config": config} if config else {}), **files})

    async def unload(self, name: str, dependents: bool) -> None:
        """Unload a model, and with ``dependents`` the models that only it uses."""
        await self._repository.unload(name, dependents=dependents)

    async def _call(self, request: InferRequest) -> InferCall:
        signature = await self._catalog.signature(request.module, request.version or "")
        specs = signature.inputs
        return InferCall(
            request.module,
            request.version or "",
            request.id,
            request.parameters,
            [_input(name, array, specs[name].dtype if name in specs else "") for name, array in (request.tensors or {}).items()],
            [RequestedOutput(name) for name in request.outputs or ()],
            request.deadline,
            request.priority,
            request.sequence,
        )


def _input(name: str, array: np.ndarray, dtype: str) -> InputTensor:
    return InputTensor(name, datatype_of(array, dtype), array.shape, array)


def _response(result: InferResult) -> InferResponse:
    parameters = {name: value for name, value in result.parameters.items() if name != FINAL}
    arrays = {each.name: each.array for each in result.outputs if each.array is not None}
    return InferResponse(tensors=arrays, parameters=parameters or None)
