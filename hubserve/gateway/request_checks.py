"""Check requests against a module's description, and convert them to the batcher's form."""

import asyncio
import json
from collections.abc import Hashable
from typing import Any

import numpy as np

from hubserve.bounded_cache import BoundedCache
from hubserve.errors import InvalidInput, UnsupportedFace, usage_sentence
from hubserve.gateway.deadlock_detection import current_depth
from hubserve.gateway.instances.raw_requests import CheckedTensors, RawRequest, ResponseStream, pack_raw_tensors, queue_raw_request
from hubserve.gateway.module_plan import ModulePlan
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.gateway.scheduling.batch_key import JSON_TOGETHER, ONE_BY_ONE, batch_key
from hubserve.kinds.description import Description, Interface
from hubserve.types import InferRequest, InferResponse, check_arrays, check_inputs
from hubserve.wire.frames import pack_arrays

#: pictures that one request may hold
MAX_PICTURES = 1024
_LAYOUTS_REMEMBERED = 256


class RequestChecker:
    """The checks of one loaded module.

    Args:
        plan: of the module.
        described: the module's description.
        merges: whether several requests may be computed together.
    """

    def __init__(self, plan: ModulePlan, described: Description, merges: bool) -> None:
        self._name = plan.info.name
        self._predict_args = plan.predict_args
        self._described = described
        self._merges_raw = merges or plan.sequences is not None
        self._json_key = JSON_TOGETHER if described.merges_json and merges else ONE_BY_ONE
        self._known: BoundedCache[Hashable | None, CheckedTensors] = BoundedCache(_LAYOUTS_REMEMBERED)

    def convert(
        self, request: InferRequest, answer: "asyncio.Future[InferResponse]", stream: ResponseStream | None = None
    ) -> QueuedRequest:
        """Check a request, and return it in the batcher's form.

        Args:
            request: to check.
            answer: resolved with the response.
            stream: for responses, of a decoupled module.
        Raises:
            InvalidInput: the module cannot take it.
        """
        described = self._described
        wants = Interface.JSON if request.wants_json else Interface.TENSORS
        buffers: list[Any] = []
        if request.tensors is not None:
            self._require(Interface.TENSORS)
            checked = self._check_tensors(request.tensors, buffers, request.layout)
            if described.raw_requests:
                return queue_raw_request(request, checked, buffers, answer, RawRequest(stream, current_depth()))
            call: dict[str, Any] = {"interface": Interface.TENSORS, "inputs": checked.inputs, "answer": wants}
            return QueuedRequest(call, buffers, checked.items, checked.key, answer, request.deadline, request.priority)
        if request.pictures is not None:
            self._require(Interface.PICTURE)
            item, count = described.picture_item, len(request.pictures)
            if not 0 < count <= MAX_PICTURES:
                raise InvalidInput(f"a request must hold 1 to {MAX_PICTURES} pictures, got {count}")
            if item is not None and not described.batched and count > 1:
                raise InvalidInput(
                    f"module '{self._name}' takes one picture in a request, because its model has no batch dimension; got {count}"
                )
            call = {"interface": Interface.PICTURE, "pictures": list(range(count)), "answer": wants}
            if item is None:  # the module takes pictures outside of batches
                arguments = request.arguments or json.dumps(self._predict_args, ensure_ascii=False).encode("utf-8", "surrogatepass")
                buffers = [*request.pictures, arguments]
                return QueuedRequest({**call, "arguments": count}, buffers, 1, ONE_BY_ONE, answer, request.deadline, request.priority)
            # a picture may be merged with arrays of the form that it will have once it is preprocessed
            form = ((item.name, item.dtype, *item.shape),)
            return QueuedRequest(call, list(request.pictures), count, form, answer, request.deadline, request.priority)
        self._require(Interface.JSON)
        call = {"interface": Interface.JSON, "arguments": 0}
        return QueuedRequest(call, [request.arguments or b"{}"], 1, self._json_key, answer, request.deadline, request.priority)

    def _check_tensors(self, tensors: dict[str, np.ndarray], buffers: list[Any], layout: Hashable | None) -> CheckedTensors:
        """Check arrays, and append their bytes to ``buffers``. A layout is checked once."""
        known = self._known.get(layout)
        if known is not None:
            buffers.extend(map(np.ascontiguousarray, tensors.values()))
            return known
        described = self._described
        if described.raw_requests:
            checked = pack_raw_tensors(self._name, described, self._merges_raw, tensors, buffers)
        else:
            if described.batched:
                count = check_inputs(described.inputs, tensors)
            else:
                check_arrays(described.inputs, tensors)
                count, tensors = 1, {name: array[None] for name, array in tensors.items()}
            inputs = pack_arrays(tensors, buffers)
            checked = CheckedTensors(count, batch_key(inputs), inputs)
        if layout is not None and all(isinstance(each, np.ndarray) for each in buffers):
            self._known[layout] = checked
        return checked

    def _require(self, interface: str) -> None:
        if interface not in self._described.interfaces:
            raise unsupported_interface(self._name, self._described, interface)


def unsupported_interface(name: str, described: Description, interface: str) -> UnsupportedFace:
    """Return the error for a request by an interface that a module lacks."""
    takes = f"it takes {', '.join(described.interfaces) or 'none'}"
    return UnsupportedFace(f"module '{name}' does not take {interface} requests; {takes}{usage_sentence(described.usage)}")
