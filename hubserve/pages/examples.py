"""An example request for each module, as a command for a shell that works as it is."""

import json
import math
import shlex
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from hubserve.gateway.dataplane import ServedModule
from hubserve.kinds.description import Interface
from hubserve.protocols.open_inference.core.datatypes import DATATYPE_OF
from hubserve.protocols.openapi.arguments import as_text, request_of
from hubserve.protocols.paddlehub_operations import segment
from hubserve.types import BYTES, REST, TensorSpec

#: tensors of up to this many elements are written out
_FEW_ELEMENTS = 64
#: a request of more bytes is not one that people send to try a module
_MOST_BYTES = 64 << 20
#: JSON arguments of more characters are not shown where tensors can be sent instead
_SHORT_TEXT = 500
#: of a shell, in which the commands look for a key
KEY_VARIABLE = "HUB_API_KEY"
_JSON = "Content-Type: application/json"


class Example(NamedTuple):
    """An example request.

    Attributes:
        command: for a shell.
        sends_picture: whether it sends the server's example picture.
    """

    command: str
    sends_picture: bool = False


def example_of(module: ServedModule, address: str, *, needs_key: bool) -> Example | None:
    """Return an example request for a loaded module; None if none can be made.

    Args:
        module: loaded.
        address: of the server, such as ``http://127.0.0.1:8866``.
        needs_key: whether the server asks for keys; the command takes one from the variable ``HUB_API_KEY`` of the shell.
    """
    curl = f'curl -H "X-API-Key: ${KEY_VARIABLE}"' if needs_key else "curl"
    described = module.description
    predict = shlex.quote(f"{address}/predict/{segment(module.name)}")
    if Interface.PICTURE in described.interfaces:
        picture = shlex.quote(f"{address}/docs/example.png")
        return Example(f"curl -s {picture} | {curl} -H 'Content-Type: image/png' --data-binary @- {predict}", sends_picture=True)
    if Interface.JSON in described.interfaces:
        request = request_of(module)
        text = as_text(request.example) if request is not None and request.example is not None else ""
        if text and (len(text) <= _SHORT_TEXT or Interface.TENSORS not in described.interfaces):
            return Example(f"{curl} -H {shlex.quote(_JSON)} -d {shlex.quote(text)} {predict}")
    if Interface.TENSORS in described.interfaces:
        command = _tensors(module, curl, shlex.quote(f"{address}/v2/models/{quote(module.name, safe='')}/infer"))
        return Example(command) if command else None
    return None


def _tensors(module: ServedModule, curl: str, url: str) -> str:
    """Return a request with tensors of zeros: small ones as numbers, the bytes of large ones behind them; "" if it would be too large."""
    inputs, large_bytes = [], 0
    for spec in module.description.inputs:
        if spec.name in module.description.optional:
            continue
        shape = _shape(spec)
        count = math.prod(shape)
        tensor: dict[str, Any] = {"name": spec.name, "datatype": DATATYPE_OF[spec.dtype], "shape": shape}
        if spec.dtype == BYTES and count > _FEW_ELEMENTS:
            return ""
        if spec.dtype == BYTES or (count <= _FEW_ELEMENTS and tensor["datatype"] not in ("FP16", "BF16")):
            tensor["data"] = ["some text" if spec.dtype == BYTES else False if spec.dtype == "bool" else 0] * count
        else:
            size = count * (2 if tensor["datatype"] in ("FP16", "BF16") else np.dtype(spec.dtype).itemsize)
            tensor["parameters"] = {"binary_data_size": size}
            large_bytes += size
        inputs.append(tensor)
    request: dict[str, Any] = {"inputs": inputs}
    if module.plan.sequences:
        request["parameters"] = {"sequence_id": 1, "sequence_start": True, "sequence_end": True}
    text = json.dumps(request)
    if large_bytes > _MOST_BYTES:
        return ""
    if not large_bytes:
        return f"{curl} -H {shlex.quote(_JSON)} -d {shlex.quote(text)} {url}"
    length = shlex.quote(f"Inference-Header-Content-Length: {len(text.encode())}")
    return f"(printf %s {shlex.quote(text)}; head -c {large_bytes} /dev/zero) | {curl} -H {length} --data-binary @- {url}"


def _shape(spec: TensorSpec) -> list[int]:
    return [max(1, length) for length in spec.shape if length != REST]
