"""The instance's life: load the module, then answer frames until the gateway closes the socket."""

import contextlib
import queue
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

import numpy as np

from hubserve.errors import HubError, LoadFailed, to_wire
from hubserve.instance.execute import Prepared, call_items, compute, guarded, prepare
from hubserve.instance.json_results import ResultEncoder
from hubserve.instance.malloc_tuning import freeze_gc
from hubserve.instance.raw_requests import PreparedWhole, compute_whole, prepare_whole
from hubserve.instance.side_channel import SideChannel
from hubserve.instance.warmup import warm_up, zeros_of
from hubserve.kinds import get_kind
from hubserve.kinds.base import Description, Face, LoadedModule
from hubserve.kinds.forks import leave_if_forked, prepare_forks
from hubserve.kinds.import_hooks import share_with_children
from hubserve.kinds.raw_requests import current_host, set_host
from hubserve.types import ANY, BYTES, REST, specs_from_json
from hubserve.wire import frames
from hubserve.wire.arena import Arena, ResponseBuffers

#: what measuring batch sizes may take while the module loads
_MEASURE_S = 0.5
#: how long computation beside this thread may stand still, unless the gateway sets another limit
_HUNG_AFTER_S = 300.0

_GONE = (EOFError, BrokenPipeError, ConnectionResetError)
_Prepared = Union[Prepared, PreparedWhole]


def serve(sock: socket.socket, arena: Optional[Arena], side_sock: Optional[socket.socket] = None) -> int:
    """Answer the gateway at the other end; returns the exit status.

    Args:
        sock: connected to it.
        arena: the memory that it shares; None if it is on another machine.
        side_sock: connected to it, too, for modules that are given whole requests; None if it is on another machine.
    """
    side = SideChannel(side_sock) if side_sock else None
    set_host(side)
    prepare_forks(partial(_forget, sock, side))
    try:
        frame = frames.receive(sock)
        try:
            module, max_batch_size, times = _load(frame.header)
        except HubError as error:
            leave_if_forked(error)
            if error.detail:
                sys.stderr.write(error.detail)
            frames.send(sock, {"op": "failed", "error": to_wire(error)})
            return 1
        leave_if_forked()
        if side and module.description.whole_requests:
            side.on_lost = partial(_shut, sock)
        freeze_gc()
        frames.send(sock, {"op": "loaded", "description": module.description.to_json(), "times": times})
        ahead = bool(frame.header.get("decode_ahead")) and Face.PICTURE in module.description.faces
        encoder = ResultEncoder(frame.header.get("nan", "null"))
        received = (_frames_ahead if ahead else _frames)(sock, arena, module, encoder)
        hung_after_s = float(frame.header.get("compute_timeout_s") or _HUNG_AFTER_S)
        try:
            _answer_frames(received, sock, arena, module, max_batch_size, side, hung_after_s)
        finally:
            _close(module)
    except _GONE:
        pass
    return 0


def _forget(sock: socket.socket, side: Optional[SideChannel]) -> None:
    """Close what connects with the gateway, in a process that was forked."""
    sock.close()
    if side:
        side.forget()


def _shut(sock: socket.socket) -> None:
    """Have the instance end: without its second socket its requests would never be answered."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _close(module: LoadedModule) -> None:
    try:
        guarded(module.close)
    except HubError as error:
        sys.stderr.write(f"the module failed while it was ended: {error.message}\n{error.detail}")


def _answer_frames(
    received: Iterator[Optional[_Prepared]],
    sock: socket.socket,
    arena: Optional[Arena],
    module: LoadedModule,
    max_batch_size: int,
    side: Optional[SideChannel],
    hung_after_s: float,
) -> None:
    responses = ResponseBuffers(arena) if arena else None
    for prepared in received:
        if prepared is None:
            module.wait_if_held_up(hung_after_s)
            frames.send(sock, {"op": "pong"})
            continue
        if isinstance(prepared, PreparedWhole):
            assert side is not None, "it was made sure of when the module was loaded"
            computed = compute_whole(module, prepared, side)
        else:
            computed = compute(module, prepared, max_batch_size)
        leave_if_forked()
        if responses:
            responses.begin_response()
        frames.send(sock, computed.to_header(), computed.buffers, responses.store if responses else None)


def _frames(sock: socket.socket, arena: Optional[Arena], module: LoadedModule, encoder: ResultEncoder) -> Iterator[Optional[_Prepared]]:
    """What the gateway sends, one after the other; None for a ping."""
    receiver = frames.Receiver(sock, arena)
    while True:
        frame = receiver.receive()
        if frame.header["op"] != "infer":
            yield None
            continue
        began = time.perf_counter()
        prepared = prepare_whole(frame, encoder) if module.description.whole_requests else prepare(module, frame, encoder)
        prepared.computed.once = bool(frame.header.get("once"))
        prepared.computed.prepare_s = time.perf_counter() - began
        yield prepared


def _frames_ahead(
    sock: socket.socket, arena: Optional[Arena], module: LoadedModule, encoder: ResultEncoder
) -> Iterator[Optional[_Prepared]]:
    """The same, read and prepared by a thread of their own."""
    ahead: "queue.Queue[Tuple[Optional[_Prepared], Optional[BaseException]]]" = queue.Queue(1)

    def read() -> None:
        try:
            for prepared in _frames(sock, arena, module, encoder):
                ahead.put((prepared, None))
        except BaseException as error:  # raised again where the frames are used
            ahead.put((None, error))

    threading.Thread(target=read, name="hubserve-reader", daemon=True).start()
    while True:
        prepared, error = ahead.get()
        if error is not None:
            raise error
        yield prepared


def _load(order: Dict[str, Any]) -> Tuple[LoadedModule, int, List[Tuple[int, float]]]:
    folder, kind = Path(order["folder"]), get_kind(order["kind"])
    sys.argv = [str(kind.code_file(folder, order["init_args"]))]  # as for a script: a module may parse its arguments
    share_with_children(always=True)
    module = kind.load(folder, order["import_name"], order["init_args"], order["defaults"])
    limit = order.get("max_batch_size") or module.description.max_batch_size
    max_batch_size = min(limit, module.description.max_batch_size)
    module.description = _with_inputs(module.description, order.get("extra_inputs") or [])._replace(max_batch_size=max_batch_size)
    if module.description.whole_requests and current_host() is None:
        raise LoadFailed(
            "it is given whole requests, which instances on other machines are not; serve it from an instance of the server's own machine"
        )
    samples = order.get("warm_up")
    if samples is not None:
        warm_up(module, samples, folder)
        return module, max_batch_size, []
    times = _warm_up(module, max_batch_size if order.get("measure") else 1)
    return module, max_batch_size, times


def _with_inputs(description: Description, extra: List[Dict[str, Any]]) -> Description:
    """The description with inputs that the gateway adds to each request, unless the module names them itself."""
    batch = (ANY,) if description.batched else ()
    known = {spec.name for spec in description.inputs}
    added = [spec._replace(shape=(*batch, *spec.shape)) for spec in specs_from_json(extra) if spec.name not in known]
    return description._replace(inputs=[*description.inputs, *added])


def _warm_up(module: LoadedModule, largest: int) -> List[Tuple[int, float]]:
    """Compute items of zeros, so that no client pays for the first call and a model that cannot run is found now.

    Returns:
        Items and seconds of calls of up to ``largest`` items, as far as the time allows.
    Raises:
        LoadFailed: the module cannot compute even one.
    """
    shapes = module.description.item_shapes()
    if module.description.whole_requests:
        return []  # they may have effects beyond their answers: only those that were asked for are computed
    if shapes is None or any(ANY in shape or REST in shape or dtype == BYTES for dtype, shape in shapes.values()):
        return []  # nothing says which lengths, or which texts, would do
    deadline = time.perf_counter() + _MEASURE_S
    times: List[Tuple[int, float]] = []
    size = 1
    while size <= largest:
        zeros = {name: zeros_of(dtype, (size, *shape)) for name, (dtype, shape) in shapes.items()}
        try:
            # the first call of a size prepares the engine, the second shows how long it takes
            took_s = [_timed(module, zeros) for _ in range(2 if largest > 1 else 1)][-1]
        except HubError as error:
            if size > 1:
                break  # it may be memory: what clients send will tell
            raise LoadFailed(f"the module loaded, but its first call failed: {error.message}", error.detail) from error
        times.append((size, took_s))
        if time.perf_counter() + 4 * took_s > deadline:
            break
        size = largest if size < largest < 2 * size else 2 * size
    return times


def _timed(module: LoadedModule, inputs: Dict[str, np.ndarray]) -> float:
    start = time.perf_counter()
    call_items(module, inputs)
    return time.perf_counter() - start
