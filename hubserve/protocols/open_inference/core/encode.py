"""Makes the protocol's answer of the data plane's."""

from typing import Any

import numpy as np

from hubserve.errors import InvalidInput, ModuleFailed
from hubserve.protocols.open_inference.core.classification import best_classes, check_classifiable, class_count, float32_of
from hubserve.protocols.open_inference.core.datatypes import DATATYPE_OF, datatype_of, raw_from_array
from hubserve.protocols.open_inference.core.shared_memory import Part, SharedMemory
from hubserve.protocols.open_inference.core.signatures import RESULTS, Signature
from hubserve.protocols.open_inference.core.types import InferCall, InferResult, OutputTensor, RequestedOutput
from hubserve.types import InferResponse

#: says of one response of a decoupled model that no others follow
FINAL = "triton_final_response"


class ResultMaker:
    """What one request asks for, checked before anything is computed.

    Args:
        signature: the model's.
        call: the request.
        shared_memory: where outputs may be put.
    Raises:
        InvalidInput: the model has no such output, or it cannot be had so.
    """

    def __init__(self, signature: Signature, call: InferCall, shared_memory: SharedMemory) -> None:
        self._signature = signature
        self._id = call.id
        self._asked: dict[str, RequestedOutput] = {}
        self._classes: dict[str, int] = {}
        self._parts: dict[str, Part] = {}
        for each in call.outputs:
            self._check(each)
            about = each.parameters
            if "shared_memory_region" in about:
                self._parts[each.name] = shared_memory.part(
                    about["shared_memory_region"], about.get("shared_memory_offset", 0), about.get("shared_memory_byte_size", 0)
                )

    def _check(self, asked: RequestedOutput) -> None:
        spec = self._signature.outputs.get(asked.name)
        if spec is None:
            raise InvalidInput(
                f"unexpected inference output '{asked.name[:80]}' for model '{self._signature.name}', whose outputs are "
                f"{', '.join(self._signature.outputs)}"
            )
        count = class_count(asked.parameters, asked.name)
        if count:
            check_classifiable(asked.name, DATATYPE_OF[spec.dtype])
            self._classes[asked.name] = count
        self._asked[asked.name] = asked

    def make(self, response: InferResponse) -> InferResult:
        """The answer.

        Raises:
            InvalidInput: an output does not fit into its place in shared memory.
            ModuleFailed: the module gave nothing of what it says.
        """
        signature = self._signature
        outputs = [self._output(name, array) for name, array in self._arrays(response).items()]
        parameters = dict(response.parameters or {})
        if response.final and signature.module.description.decoupled:
            parameters[FINAL] = True
        return InferResult(signature.name, signature.version, self._id, outputs, parameters)

    def _arrays(self, response: InferResponse) -> dict[str, np.ndarray]:
        """What was asked for, in the order of the model's configuration."""
        if response.tensors is None and response.json is None:
            return {}
        if response.tensors is None:
            results = np.empty(1, object)
            results[0] = bytes(response.json or b"null")
            return {RESULTS.name: results}
        given = response.tensors
        wanted = [name for name in self._signature.outputs if name in given and (not self._asked or name in self._asked)]
        if not wanted and given:
            raise ModuleFailed(
                f"model '{self._signature.name}' gave {', '.join(given)}, and none of its outputs "
                f"{', '.join(self._asked or self._signature.outputs)}"
            )
        return {name: given[name] for name in wanted}

    def _output(self, name: str, array: np.ndarray) -> OutputTensor:
        datatype = datatype_of(array, self._signature.outputs[name].dtype)
        if name in self._classes:
            numbers = float32_of(array) if datatype == "BF16" else array
            check_classifiable(name, datatype)
            array = best_classes(numbers, self._classes[name], self._signature.labels(name), is_batched=self._signature.is_batched)
            datatype = "BYTES"
        output = OutputTensor(name, datatype, array.shape, array, self._asked.get(name))
        part = self._parts.get(name)
        if part is not None:
            raw = raw_from_array(array)
            part.write(raw)
            asked: dict[str, Any] = output.requested.parameters if output.requested else {}
            output.parameters = {key: asked[key] for key in ("shared_memory_region", "shared_memory_offset") if key in asked}
            output.parameters["shared_memory_byte_size"] = memoryview(raw).nbytes
            output.array = None
        return output
