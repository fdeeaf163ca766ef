"""What models ask of the server: other models, by the signatures that clients see, and loading and unloading them."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import numpy as np

from hubserve.protocols.open_inference.core.datatypes import datatype_of
from hubserve.protocols.open_inference.core.encode import FINAL
from hubserve.protocols.open_inference.core.types import InferCall, InferResult, InputTensor, RequestedOutput
from hubserve.types import InferRequest, InferResponse

if TYPE_CHECKING:
    from hubserve.protocols.open_inference.core.inference import V2Inference


class ModelRequests:
    """Answers what models ask, in the form that :class:`hubserve.gateway.inter_model_calls.ModelCalls` has it.

    Args:
        v2: the protocol.
    """

    def __init__(self, v2: "V2Inference") -> None:
        self._v2 = v2
        calls = v2.dataplane.calls
        calls.infer, calls.stream = self.infer, self.stream
        calls.handlers.update(load=self._load, unload=self._unload)

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer a request for exactly one response.

        Raises:
            HubError: as :meth:`V2Inference.infer`.
        """
        return _response(await self._v2.infer(await self._call(request)))

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse]:
        """Answer a request by any number of responses.

        Raises:
            HubError: as :meth:`V2Inference.stream`.
        """
        async with aclosing(self._v2.stream(await self._call(request))) as results:
            async for result in results:
                yield _response(result)

    async def _call(self, request: InferRequest) -> InferCall:
        signature = await self._v2.signature(request.module, request.version or "")
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
        await self._v2.repository.load(arguments["name"], {**config, **files})

    async def _unload(self, arguments: dict[str, Any], _: Sequence[memoryview]) -> None:
        await self._v2.repository.unload(arguments["name"], dependents=arguments["unload_dependents"])


def _input(name: str, array: np.ndarray, dtype: str) -> InputTensor:
    return InputTensor(name, datatype_of(array, dtype), array.shape, array)


def _response(result: InferResult) -> InferResponse:
    parameters = {name: value for name, value in result.parameters.items() if name != FINAL}
    arrays = {each.name: each.array for each in result.outputs if each.array is not None}
    return InferResponse(tensors=arrays, parameters=parameters or None)
