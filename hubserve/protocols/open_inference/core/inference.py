"""Answer inference requests over the data plane, whatever transport carries them."""

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import cast

from hubserve.errors import InvalidInput
from hubserve.gateway.dataplane import ServedModule
from hubserve.net.asgi import permitted_priority
from hubserve.protocols.arguments import ArgumentReader
from hubserve.protocols.open_inference.core.catalog import ModelCatalog
from hubserve.protocols.open_inference.core.decode import RequestDecoder
from hubserve.protocols.open_inference.core.encode import ResponseEncoder
from hubserve.protocols.open_inference.core.errors import NotSupported
from hubserve.protocols.open_inference.core.shared_memory import SharedMemory
from hubserve.protocols.open_inference.core.signatures import ARGUMENTS, Signature
from hubserve.protocols.open_inference.core.tracing import Tracer
from hubserve.protocols.open_inference.core.types import InferCall, InferResult
from hubserve.types import InferRequest, InferResponse

_ADMITTED = nullcontext()


class Inference:
    """Pipeline of inference requests: decode for the data plane, compute, encode the response.

    Args:
        catalog: finds models.
        shared_memory: regions that clients have registered.
        tracer: samples requests.
        arguments: reads JSON arguments.
    """

    def __init__(self, catalog: ModelCatalog, shared_memory: SharedMemory, tracer: Tracer, arguments: ArgumentReader) -> None:
        self._catalog = catalog
        self._shared_memory = shared_memory
        self._tracer = tracer
        self._arguments = arguments

    async def infer(self, call: InferCall, signature: Signature | None = None) -> InferResult:
        """Answer one request by one result.

        Args:
            call: the request.
            signature: of its model, if the caller has admitted the request there; see :meth:`ServedModule.admit`.
        Raises:
            NotSupported: the model is decoupled; see :meth:`stream`.
            HubError: see :mod:`hubserve.protocols.open_inference.core.errors` for the status of each.
        """
        is_admitted, signature = signature is not None, signature or await self._catalog.signature(call.model, call.version)
        module = signature.module
        with _admission(module, is_admitted), self._tracer.sample(call.model, module.plan.info.version, call.id) as marks:
            if module.description.decoupled:
                raise NotSupported(
                    f"'{call.model}' may answer one request by any number of responses, and a plain request doesn't support models "
                    "with decoupled transaction policy; use generate_stream over HTTP, or ModelStreamInfer over gRPC"
                )
            request, encoder = await self._decode(call, signature)
            request.marks = marks
            return encoder.encode(await module.infer(request))

    async def stream(self, call: InferCall, signature: Signature | None = None) -> AsyncGenerator[InferResult]:
        """Answer one request by as many results as its model gives; exactly one if the model is not decoupled.

        Args:
            call: the request.
            signature: as for :meth:`infer`.
        Raises:
            HubError: as :meth:`infer`; also after some results.
        """
        is_admitted, signature = signature is not None, signature or await self._catalog.signature(call.model, call.version)
        module = signature.module
        with _admission(module, is_admitted), self._tracer.sample(call.model, module.plan.info.version, call.id) as marks:
            request, encoder = await self._decode(call, signature)
            request.marks = marks
            # a caller that stops iterating also ends the computation
            async with aclosing(cast("AsyncGenerator[InferResponse]", module.stream(request))) as responses:
                async for response in responses:
                    yield encoder.encode(response)

    async def _decode(self, call: InferCall, signature: Signature) -> tuple[InferRequest, ResponseEncoder]:
        """Decode a request; requested outputs are checked before anything is computed."""
        memory = self._memory_for(call)
        encoder = ResponseEncoder(signature, call, memory)
        request = RequestDecoder(signature, memory).decode(call)
        request.priority = permitted_priority(request.priority)
        if request.arguments is not None:
            await self._read_arguments(request, signature)
        return request, encoder

    def _memory_for(self, call: InferCall) -> SharedMemory:
        """Return the regions that a request may use; regions of clients on this machine are closed to clients elsewhere.

        Raises:
            Forbidden: the request uses shared memory, and its client may not.
        """
        if call.check_memory and call.shares_memory:
            call.check_memory()
        return self._shared_memory

    async def _read_arguments(self, request: InferRequest, signature: Signature) -> None:
        what = f"input '{ARGUMENTS.name}'"
        arguments = await self._arguments.read(request.arguments, what, signature.module.plan.predict_args)
        if arguments.found and not signature.module.description.any_json:
            raise InvalidInput(f"{what} must be a JSON object, got {arguments.found}{signature.usage}")
        request.arguments = arguments.text


def _admission(module: ServedModule, is_admitted: bool) -> AbstractContextManager[None]:
    return _ADMITTED if is_admitted else module.admit()
