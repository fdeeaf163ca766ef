"""The instance's life: load the module, then answer frames until the gateway closes the socket."""

import socket
import sys
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np

from hubserve.errors import HubError, LoadFailed, to_wire
from hubserve.instance import wire
from hubserve.instance.arena import Arena
from hubserve.instance.calls import compute, guarded
from hubserve.kinds import get_kind
from hubserve.kinds.base import Face, LoadedModule
from hubserve.types import ANY


def serve(sock: socket.socket, arena: Arena) -> int:
    """Answer the gateway at the other end, which shares ``arena``; returns the exit status."""
    try:
        frame = wire.receive(sock)
        try:
            module, max_batch_size = _load(frame.header)
        except HubError as error:
            if error.detail:
                sys.stderr.write(error.detail)
            wire.send(sock, {"op": "failed", "error": to_wire(error)})
            return 1
        wire.send(sock, {"op": "loaded", "description": module.description.to_json()})
        while True:
            frame = wire.receive(sock, arena)
            computed = compute(module, frame, max_batch_size)
            wire.send(sock, {"op": "results", "results": computed.results}, computed.buffers)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return 0


def _load(order: Dict[str, Any]) -> Tuple[LoadedModule, int]:
    folder = Path(order["folder"])
    module = get_kind(order["kind"]).load(folder, order["import_name"], order["init_args"], order["defaults"])
    limit = order.get("max_batch_size") or module.description.max_batch_size
    max_batch_size = min(limit, module.description.max_batch_size)
    module.description = module.description._replace(max_batch_size=max_batch_size)
    _warm_up(module)
    return module, max_batch_size


def _warm_up(module: LoadedModule) -> None:
    """Compute one item of zeros, so that no client pays for the first call and a model that cannot run is found now."""
    described = module.description
    if Face.TENSORS not in described.faces:
        return
    if described.picture_item is not None and len(described.inputs) == 1:
        shapes = {described.inputs[0].name: described.picture_item.shape}
    else:
        shapes = {spec.name: spec.shape[1:] for spec in described.inputs}
    if any(ANY in shape for shape in shapes.values()):
        return  # nothing says which lengths would do
    zeros = {spec.name: np.zeros((1, *shapes[spec.name]), spec.dtype) for spec in described.inputs}
    try:
        guarded(lambda: module.call_tensors(zeros))
    except HubError as error:
        raise LoadFailed(f"the module loaded, but its first call failed: {error.message}", error.detail) from error
