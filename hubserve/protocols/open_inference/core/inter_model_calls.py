"""Answer the requests that models make: of other models, by the signatures that clients see, and to load and unload models."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np

from hubserve.gateway.dataplane import DataPlane
from hubserve.protocols.open_inference.core.catalog import ModelCatalog
from hubserve.protocols.open_inference.core.datatypes import datatype_of
from hubserve.protocols.open_inference.core.encode import FINAL
from hubserve.protocols.open_inference.core.inference import Inference
from hubserve.protocols.open_inference.core.repository import Repository
from hubserve.protocols.open_inference.core.types import InferCall, InferResult, InputTensor, RequestedOutput
from hubserve.types import InferRequest, InferResponse


class InterModelCalls:
    """Answers requests of models in the form that :class:`hubserve.gateway.inter_model_calls.ModelCalls` has them.

    Args:
        dataplane: passes the requests on.
        catalog: finds models.
        inference: answers inference requests.
        repository: loads and unloads models.
    """

    def __init__(self, dataplane: DataPlane, catalog: ModelCatalog, inference: Inference, repository: Repository) -> None:
        self._catalog = catalog
        self._inference = inference
        self._repository = repository
        calls = dataplane.calls
        calls.infer, calls.stream = self.infer, self.stream
        calls.handlers.update(load=self._load, unload=self._unload)

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer a request by exactly one response.

        Raises:
            HubError: as :meth:`Inference.infer`.
        """
        return _response(await self._inference.infer(await self._call(request)))

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse]:
        """Answer a request by any number of responses.

        Raises:
            HubError: as :meth:`Inference.stream`.
        """
        async with aclosing(self._inference.stream(await self._call(request))) as results:
            async for result in results:
                yield _response(result)

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

    async def _load(self, arguments: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        files = {name: bytes(content) for name, content in zip(arguments["files"], buffers, strict=True)}
        config = {"config": arguments["config"]} if arguments["config"] else {}
        await self._repository.load(arguments["name"], {**config, **files})

    async def _unload(self, arguments: dict[str, Any], _: Sequence[memoryview]) -> None:
        await self._repository.unload(arguments["name"], dependents=arguments["unload_dependents"])


def _input(name: str, array: np.ndarray, dtype: str) -> InputTensor:
    return InputTensor(name, datatype_of(array, dtype), array.shape, array)


def _response(result: InferResult) -> InferResponse:
    parameters = {name: value for name, value in result.parameters.items() if name != FINAL}
    arrays = {each.name: each.array for each in result.outputs if each.array is not None}
    return InferResponse(tensors=arrays, parameters=parameters or None)
