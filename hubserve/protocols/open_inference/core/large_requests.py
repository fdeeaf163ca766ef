"""Decode large requests off the event loop: documents in a decoder process, many byte strings in a thread.

A transport names a function of its own, a job, that runs in the decoder process; :func:`pack_call` carries the result back.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from hubserve.protocols.decoders import Decoders
from hubserve.protocols.documents import JsonBounds
from hubserve.protocols.open_inference.core.datatypes import ManyElements, array_of_dtype
from hubserve.protocols.open_inference.core.signatures import Signature
from hubserve.protocols.open_inference.core.types import InferCall, InputTensor, RequestedOutput
from hubserve.types import TensorSpec
from hubserve.wire.frames import Frame, pack_arrays


class InputSignature(NamedTuple):
    """Subset of a :class:`Signature` that decoding a document needs."""

    name: str
    inputs: dict[str, TensorSpec]
    takes_pictures: bool
    may_lack_inputs: bool = False  # a document that is large has some


class LargeRequests:
    """Decoding of requests in decoder processes or threads.

    Args:
        decoders: the processes.
        bounds: limits of a document.
    """

    def __init__(self, decoders: Decoders, bounds: JsonBounds) -> None:
        self._decoders = decoders
        self._bounds = bounds

    async def in_process(self, job: str, data: Any, signature: Signature | None = None, **arguments: Any) -> InferCall:
        """Decode a request in a decoder process.

        Args:
            job: ``"package.module:function"``; it returns what :func:`pack_call` does.
            data: the request, a bytes-like object.
            signature: of its model, if the job needs it: it calls :func:`signature_of`.
            arguments: further JSON values for the job.
        """
        packed = {} if signature is None else {"signature": _pack_signature(signature)}
        return await self._decoders.call(job, {"bounds": self._bounds, **packed, **arguments}, [data], _unpack_call)

    async def in_thread(self, many: ManyElements, decode: Callable[[], InferCall]) -> InferCall:
        """Decode a request of many byte strings, each in a small step.

        Args:
            many: raised by ``decode`` on the event loop.
            decode: decodes the request.
        Raises:
            TooLarge: it has too many byte strings.
        """
        self._bounds.check_byte_strings(many.count)
        return await self._decoders.run(decode)


def _pack_signature(signature: Signature) -> list[Any]:
    return [signature.name, [list(each) for each in signature.inputs.values()], signature.takes_pictures]


def _unpack_call(frame: Frame) -> InferCall:
    header = frame.header
    arrays = {each["name"]: array_of_dtype(frame.buffers[each["buffer"]], each["dtype"], each["shape"]) for each in header["arrays"]}
    inputs = [
        InputTensor(name, datatype, tuple(shape), arrays[str(number)] if has_data else None, parameters)
        for number, (name, datatype, shape, parameters, has_data) in enumerate(header["inputs"])
    ]
    outputs = [RequestedOutput(name, parameters) for name, parameters in header["outputs"]]
    return InferCall(header["model"], header["version"], header["id"], header["parameters"], inputs, outputs)


# --- for jobs, in a decoder process ---


def bounds_of(arguments: dict[str, Any]) -> JsonBounds:
    """Return the limits of a document from a job's arguments."""
    return JsonBounds(*arguments["bounds"])


def signature_of(arguments: dict[str, Any]) -> InputSignature:
    """Return the model's inputs from a job's arguments."""
    name, inputs, takes_pictures = arguments["signature"]
    return InputSignature(name, {spec[0]: TensorSpec(spec[0], spec[1], tuple(spec[2])) for spec in inputs}, takes_pictures)


def pack_call(call: InferCall, bounds: JsonBounds) -> tuple[dict[str, Any], list[Any]]:
    """Return a decoded request as a frame's header and buffers.

    Raises:
        TooLarge: it has too many byte strings.
    """
    bounds.check_byte_strings(sum(each.data.size for each in call.inputs if each.data is not None and each.data.dtype == object))
    buffers: list[Any] = []
    inputs = [[each.name, each.datatype, list(each.shape), each.parameters, each.data is not None] for each in call.inputs]
    arrays = pack_arrays({str(number): each.data for number, each in enumerate(call.inputs) if each.data is not None}, buffers)
    header = {"model": call.model, "version": call.version, "id": call.id, "parameters": call.parameters}
    return {**header, "inputs": inputs, "outputs": [[each.name, each.parameters] for each in call.outputs], "arrays": arrays}, buffers
