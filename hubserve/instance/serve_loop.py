"""Serve the gateway: load the module, then answer frames until the gateway closes the socket."""

import contextlib
import queue
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

from hubserve.errors import HubError, LoadFailed, to_wire
from hubserve.instance.execute import compute
from hubserve.instance.frame_calls import PreparedFrame, prepare
from hubserve.instance.guard import guarded
from hubserve.instance.json_results import ResultEncoder
from hubserve.instance.malloc_tuning import freeze_gc
from hubserve.instance.output import mark_frame, name_output, write_error
from hubserve.instance.raw_requests import PreparedRequests, compute_requests, prepare_requests
from hubserve.instance.side_channel import SideChannel
from hubserve.instance.warmup import compute_samples, compute_zeros
from hubserve.kinds import get_kind
from hubserve.kinds.base import LoadedModule
from hubserve.kinds.description import Description, Interface
from hubserve.kinds.forks import leave_if_forked, prepare_forks
from hubserve.kinds.import_hooks import share_with_children
from hubserve.kinds.raw_requests import current_host, set_host
from hubserve.types import ANY, specs_from_json
from hubserve.wire import frames
from hubserve.wire.arena import Arena, ResponseBuffers
from hubserve.wire.current_requests import compute_frame, frame_of, leave_frame, prepare_frame

#: how long computation outside this thread may make no progress, unless the gateway sets another limit
_HUNG_AFTER_S = 300.0

_GONE = (EOFError, BrokenPipeError, ConnectionResetError)
#: a frame that is ready to compute; None for a ping
_Prepared = Union[PreparedFrame, PreparedRequests, None]


def serve(sock: socket.socket, arena: Optional[Arena], side_sock: Optional[socket.socket] = None) -> int:
    """Serve the gateway at the other end, and return the exit status.

    Args:
        sock: connected to the gateway.
        arena: the memory that the gateway shares; None if it is on another machine.
        side_sock: a second socket, for modules that take raw requests; None if the gateway is on another machine.
    """
    side = SideChannel(side_sock) if side_sock else None
    set_host(side)
    prepare_forks(partial(_close_in_fork, sock, side))
    try:
        frame = frames.receive(sock)
        name_output(str(frame.header.get("shown_as", "")))
        try:
            module, max_batch_size, times = _load(frame.header)
        except HubError as error:
            leave_if_forked(error)
            if error.detail:
                write_error(error.detail)
            frames.send(sock, {"op": "failed", "error": to_wire(error)})
            return 1
        leave_if_forked()
        if side and module.description.raw_requests:
            side.on_lost = partial(_shut_down, sock)
        freeze_gc()
        frames.send(sock, {"op": "loaded", "description": module.description.to_json(), "times": times})
        ahead = bool(frame.header.get("decode_ahead")) and Interface.PICTURE in module.description.interfaces
        encoder = ResultEncoder(frame.header.get("nan", "null"))
        received = (_prepared_ahead if ahead else _prepared_frames)(sock, arena, module, encoder)
        hung_after_s = float(frame.header.get("compute_timeout_s") or _HUNG_AFTER_S)
        try:
            _answer_frames(received, sock, arena, module, max_batch_size, side, hung_after_s)
        finally:
            _close(module)
    except _GONE:
        pass
    return 0


def _close_in_fork(sock: socket.socket, side: Optional[SideChannel]) -> None:
    """Close the sockets to the gateway in a process that was forked."""
    sock.close()
    if side:
        side.close_in_fork()


def _shut_down(sock: socket.socket) -> None:
    """End the instance, whose requests would never be answered without the side channel."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _close(module: LoadedModule) -> None:
    try:
        guarded(module.close)
    except HubError as error:
        write_error(f"the module failed while it was closed: {error.message}\n{error.detail}")


# --- frames ---


def _answer_frames(
    received: Iterator[_Prepared],
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
        compute_frame(prepared.results.frame)
        if prepared.results.marks_output:
            mark_frame()
        if isinstance(prepared, PreparedRequests):
            assert side is not None, "_load checked it"
            results = compute_requests(module, prepared, side)
        else:
            results = compute(module, prepared, max_batch_size)
        leave_if_forked()
        leave_frame()
        if responses:
            responses.begin_response()
        frames.send(sock, results.to_header(), results.buffers, responses.store if responses else None)


def _prepared_frames(sock: socket.socket, arena: Optional[Arena], module: LoadedModule, encoder: ResultEncoder) -> Iterator[_Prepared]:
    """Yield the frames of the gateway, ready to compute."""
    receiver = frames.Receiver(sock, arena)
    number = 0
    while True:
        frame = receiver.receive()
        if frame.header["op"] != "infer":
            yield None
            continue
        number += 1
        began = time.perf_counter()
        current = frame_of(number, frame.header)
        prepare_frame(current)
        prepared = prepare_requests(frame, encoder) if module.description.raw_requests else prepare(module, frame, encoder)
        prepared.results.once = bool(frame.header.get("once"))
        prepared.results.frame = current
        prepared.results.marks_output = bool(frame.header.get("mark_output"))
        prepared.results.prepare_s = time.perf_counter() - began
        yield prepared


def _prepared_ahead(sock: socket.socket, arena: Optional[Arena], module: LoadedModule, encoder: ResultEncoder) -> Iterator[_Prepared]:
    """Yield the same, read and prepared by another thread while the frame before is computed."""
    ahead: "queue.Queue[Tuple[_Prepared, Optional[BaseException]]]" = queue.Queue(1)

    def read() -> None:
        try:
            for prepared in _prepared_frames(sock, arena, module, encoder):
                ahead.put((prepared, None))
        except BaseException as error:  # raised again in the computing thread
            ahead.put((None, error))

    threading.Thread(target=read, name="hubserve-reader", daemon=True).start()
    while True:
        prepared, error = ahead.get()
        if error is not None:
            raise error
        yield prepared


# --- loading ---


def _load(order: Dict[str, Any]) -> Tuple[LoadedModule, int, List[Tuple[int, float]]]:
    """Load a module and warm it up.

    Args:
        order: the header of a ``load`` frame.
    Returns:
        The module, the most items in one call, and items and seconds of the calls of the warm-up.
    """
    folder, kind = Path(order["folder"]), get_kind(order["kind"])
    sys.argv = [str(kind.code_file(folder, order["init_args"]))]  # as for a script: a module may parse its arguments
    share_with_children(always=True)
    module = kind.load(folder, order["import_name"], order["init_args"], order["defaults"])
    limit = order.get("max_batch_size") or module.description.max_batch_size
    max_batch_size = min(limit, module.description.max_batch_size)
    module.description = _with_inputs(module.description, order.get("extra_inputs") or [])._replace(max_batch_size=max_batch_size)
    if module.description.raw_requests and current_host() is None:
        raise LoadFailed("it takes raw requests, which instances on other machines cannot; serve it from the gateway's own machine")
    samples = order.get("warm_up")
    if samples is not None:
        compute_samples(module, samples, folder)
        return module, max_batch_size, []
    times = compute_zeros(module, max_batch_size if order.get("measure") else 1)
    return module, max_batch_size, times


def _with_inputs(description: Description, extra: List[Dict[str, Any]]) -> Description:
    """Return the description with the inputs that the gateway adds to each request, unless the module declares them itself."""
    batch = (ANY,) if description.batched else ()
    known = {spec.name for spec in description.inputs}
    added = [spec._replace(shape=(*batch, *spec.shape)) for spec in specs_from_json(extra) if spec.name not in known]
    return description._replace(inputs=[*description.inputs, *added])
