"""Read large requests off the event loop: documents in a process that decodes, many byte strings in a thread."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from hubserve.errors import InvalidInput
from hubserve.protocols.decoders import Decoders
from hubserve.protocols.documents import SMALL_BYTES, JsonBounds, is_light
from hubserve.protocols.open_inference.core.datatypes import ManyElements, array_of_dtype
from hubserve.protocols.open_inference.core.signatures import Signature
from hubserve.protocols.open_inference.core.types import InferCall, InputTensor, RequestedOutput
from hubserve.protocols.open_inference.http.decode import MOST_NAMED, json_length, read_call
from hubserve.protocols.open_inference.http.generate import read_generate
from hubserve.protocols.open_inference.http.tensor_header_cache import Layouts
from hubserve.types import TensorSpec
from hubserve.wire.frames import Frame, pack_arrays

_HERE = "hubserve.protocols.open_inference.core.large_requests:"


class Takes(NamedTuple):
    """The parts of a model's signature that decoding a request needs."""

    name: str
    inputs: dict[str, TensorSpec]
    takes_pictures: bool
    may_lack_inputs: bool = False  # a document that is large has some


class CallReader:
    """Reads requests, and chooses where.

    Args:
        decoders: the processes.
        bounds: of a document.
    """

    def __init__(self, decoders: Decoders, bounds: JsonBounds) -> None:
        self._decoders = decoders
        self._bounds = bounds

    async def infer(self, body: memoryview, header_length: str, signature: Signature, layouts: Layouts) -> InferCall:
        """Read an inference request over HTTP; see :func:`hubserve.protocols.open_inference.http.decode.read_call`."""
        length = json_length(body, header_length)
        if length > SMALL_BYTES and not is_light(body[:length]):
            return await self._in_process("decode_infer", [body], signature, header_length=header_length)
        try:
            return read_call(body, header_length, signature, layouts, self._bounds)
        except ManyElements as many:
            return await self.in_thread(many, partial(read_call, body, header_length, signature, layouts, self._bounds))

    async def generate(self, body: memoryview, signature: Signature) -> InferCall:
        """Read a request of the generate extension; see :func:`hubserve.protocols.open_inference.http.generate.read_generate`."""
        if is_light(body):
            return read_generate(body, signature, self._bounds)
        return await self._in_process("decode_generate", [body], signature)

    async def in_thread(self, many: ManyElements, decode: Callable[[], InferCall]) -> InferCall:
        """Decode a request of many byte strings, each in a small step.

        Args:
            many: what decoding it on the event loop raised.
            decode: does it again.
        Raises:
            TooLarge: they are too many.
        """
        self._bounds.check_byte_strings(many.count)
        return await self._decoders.run(decode)

    async def message(self, data: Any) -> InferCall:
        """Decode a large message of gRPC."""
        return await self._decoders.call(_HERE + "decode_message", {"bounds": self._bounds}, [data], _read)

    async def _in_process(self, function: str, buffers: list[Any], signature: Signature, **more: Any) -> InferCall:
        takes = [signature.name, [list(each) for each in signature.inputs.values()], signature.takes_pictures]
        arguments = {"takes": takes, "bounds": self._bounds, **more}
        return await self._decoders.call(_HERE + function, arguments, buffers, _read)


# --- in a process that decodes ---


def decode_infer(arguments: dict[str, Any], buffers: list[memoryview]) -> tuple[dict[str, Any], list[Any]]:
    """Decode an inference request over HTTP."""
    return _packed(
        read_call(buffers[0], arguments["header_length"], _takes(arguments), Layouts(), JsonBounds(*arguments["bounds"])), arguments
    )


def decode_generate(arguments: dict[str, Any], buffers: list[memoryview]) -> tuple[dict[str, Any], list[Any]]:
    """Decode a request of the generate extension."""
    return _packed(read_generate(buffers[0], _takes(arguments), JsonBounds(*arguments["bounds"])), arguments)


def decode_message(arguments: dict[str, Any], buffers: list[memoryview]) -> tuple[dict[str, Any], list[Any]]:
    """Decode a ``ModelInferRequest``."""
    # these need packages that a server without gRPC may lack
    from hubserve.protocols.open_inference.grpc.codec import decode_call, parse_request
    from hubserve.protocols.open_inference.grpc.raw_tensors import has_many_fields

    message = bytes(buffers[0])
    if has_many_fields(message, 4 * MOST_NAMED):  # each input may have contents; outputs and parameters count, too
        raise InvalidInput(f"the message has more than {4 * MOST_NAMED} inputs, outputs, raw contents and parameters; send fewer")
    return _packed(decode_call(*parse_request(message)), arguments)


def _takes(arguments: dict[str, Any]) -> Takes:
    name, inputs, takes_pictures = arguments["takes"]
    return Takes(name, {spec[0]: TensorSpec(spec[0], spec[1], tuple(spec[2])) for spec in inputs}, takes_pictures)


def _packed(call: InferCall, arguments: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    count = sum(each.data.size for each in call.inputs if each.data is not None and each.data.dtype == object)
    JsonBounds(*arguments["bounds"]).check_byte_strings(count)
    buffers: list[Any] = []
    inputs = [[each.name, each.datatype, list(each.shape), each.parameters, each.data is not None] for each in call.inputs]
    arrays = pack_arrays({str(number): each.data for number, each in enumerate(call.inputs) if each.data is not None}, buffers)
    about = {"model": call.model, "version": call.version, "id": call.id, "parameters": call.parameters}
    return {**about, "inputs": inputs, "outputs": [[each.name, each.parameters] for each in call.outputs], "arrays": arrays}, buffers


# --- in a thread of the gateway ---


def _read(frame: Frame) -> InferCall:
    about = frame.header
    arrays = {each["name"]: array_of_dtype(frame.buffers[each["buffer"]], each["dtype"], each["shape"]) for each in about["arrays"]}
    inputs = [
        InputTensor(name, datatype, tuple(shape), arrays[str(number)] if has_data else None, parameters)
        for number, (name, datatype, shape, parameters, has_data) in enumerate(about["inputs"])
    ]
    outputs = [RequestedOutput(name, parameters) for name, parameters in about["outputs"]]
    return InferCall(about["model"], about["version"], about["id"], about["parameters"], inputs, outputs)
