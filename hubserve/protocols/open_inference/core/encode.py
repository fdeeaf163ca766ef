"""Encode the data plane's responses as the protocol's results."""

from typing import Any

import numpy as np

from hubserve.errors import InvalidInput, ModuleFailed
from hubserve.protocols.open_inference.core.classification import best_classes, check_classifiable, class_count, float32_of
from hubserve.protocols.open_inference.core.datatypes import DATATYPE_OF, datatype_of, raw_from_array
from hubserve.protocols.open_inference.core.shared_memory import SharedMemory
from hubserve.protocols.open_inference.core.shared_memory_region import Section
from hubserve.protocols.open_inference.core.signatures import RESULTS, Signature
from hubserve.protocols.open_inference.core.types import InferCall, InferResult, OutputTensor, RequestedOutput
from hubserve.types import InferResponse

#: parameter of the last response of a decoupled model
FINAL = "triton_final_response"


class ResponseEncoder:
    """Encoder of the responses to one request; it checks the requested outputs before anything is computed.

    Args:
        signature: the model's.
        call: the request.
        shared_memory: regions that outputs may be written to.
    Raises:
        InvalidInput: the model has no such output, or cannot return it in the requested form.
    """

    def __init__(self, signature: Signature, call: InferCall, shared_memory: SharedMemory) -> None:
        self._signature = signature
        self._id = call.id
        self._requested: dict[str, RequestedOutput] = {}
        self._classes: dict[str, int] = {}
        self._sections: dict[str, Section] = {}
        for each in call.outputs:
            self._add(each)
            where = each.parameters
            if "shared_memory_region" in where:
                self._sections[each.name] = shared_memory.section(
                    where["shared_memory_region"], where.get("shared_memory_offset", 0), where.get("shared_memory_byte_size", 0)
                )

    def _add(self, requested: RequestedOutput) -> None:
        spec = self._signature.outputs.get(requested.name)
        if spec is None:
            raise InvalidInput(
                f"unexpected inference output '{requested.name[:80]}' for model '{self._signature.name}', whose outputs are "
                f"{', '.join(self._signature.outputs)}"
            )
        count = class_count(requested.parameters, requested.name)
        if count:
            check_classifiable(requested.name, DATATYPE_OF[spec.dtype])
            self._classes[requested.name] = count
        self._requested[requested.name] = requested

    def encode(self, response: InferResponse) -> InferResult:
        """Return the result of a response.

        Raises:
            InvalidInput: an output does not fit into its section of shared memory.
            ModuleFailed: the module returned none of its outputs.
        """
        signature = self._signature
        outputs = [self._output(name, array) for name, array in self._arrays(response).items()]
        parameters = dict(response.parameters or {})
        if response.final and signature.module.description.decoupled:
            parameters[FINAL] = True
        return InferResult(signature.name, signature.version, self._id, outputs, parameters)

    def _arrays(self, response: InferResponse) -> dict[str, np.ndarray]:
        """Return the requested outputs, in the order of the model's configuration."""
        if response.tensors is None and response.json is None:
            return {}
        if response.tensors is None:
            results = np.empty(1, object)
            results[0] = bytes(response.json or b"null")
            return {RESULTS.name: results}
        tensors = response.tensors
        wanted = [name for name in self._signature.outputs if name in tensors and (not self._requested or name in self._requested)]
        if not wanted and tensors:
            raise ModuleFailed(
                f"model '{self._signature.name}' returned {', '.join(tensors)}, and none of its outputs "
                f"{', '.join(self._requested or self._signature.outputs)}"
            )
        return {name: tensors[name] for name in wanted}

    def _output(self, name: str, array: np.ndarray) -> OutputTensor:
        datatype = datatype_of(array, self._signature.outputs[name].dtype)
        if name in self._classes:
            numbers = float32_of(array) if datatype == "BF16" else array
            check_classifiable(name, datatype)
            array = best_classes(numbers, self._classes[name], self._signature.labels(name), is_batched=self._signature.is_batched)
            datatype = "BYTES"
        output = OutputTensor(name, datatype, array.shape, array, self._requested.get(name))
        section = self._sections.get(name)
        if section is not None:
            raw = raw_from_array(array)
            section.write(raw)
            where: dict[str, Any] = output.requested.parameters if output.requested else {}
            output.parameters = {key: where[key] for key in ("shared_memory_region", "shared_memory_offset") if key in where}
            output.parameters["shared_memory_byte_size"] = memoryview(raw).nbytes
            output.array = None
        return output
