"""Entry point of a decoder process: call the functions that the gateway names, one after the other, until the gateway ends."""

import gc
import signal
import socket
from functools import cache
from importlib import import_module
from typing import Any

from hubserve.errors import HubError, TooLarge, safe_text, to_wire
from hubserve.instance.malloc_tuning import trim_heap
from hubserve.kinds.module_failures import traceback_of
from hubserve.wire import frames

#: the gateway parses the header on its event loop; only buffers may be large
_MAX_HEADER_BYTES = 1 << 20


def main(descriptor: int) -> None:
    """Serve the gateway at the other end of a socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes; the gateway ends this one
    gc.disable()  # JSON has no cycles, and the collector would scan millions of values repeatedly
    with socket.socket(fileno=descriptor) as sock:
        while True:
            try:
                frame = frames.receive(sock)
                frames.send(sock, *_answer(frame))
            except (EOFError, OSError):
                return
            del frame
            trim_heap()


def _answer(frame: frames.Frame) -> tuple[dict[str, Any], list[Any]]:
    try:
        header, buffers = _function(frame.header["function"])(frame.header["arguments"], frame.buffers)
        if len(frames.dump_header(header)) > _MAX_HEADER_BYTES:
            raise TooLarge("the names, shapes and parameters of the request take more than 1 MiB; send fewer or shorter ones")
    except HubError as error:
        return {"error": to_wire(error)}, []
    except MemoryError:
        return {"error": to_wire(TooLarge("there is not enough memory to decode the request; send fewer items at once"))}, []
    except BaseException as error:  # the next request must still be decoded
        text = f"the request could not be decoded: {safe_text(error)}; the server's log has the details"
        return {"error": to_wire(HubError(text, traceback_of(error)))}, []
    return header, buffers


@cache
def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)
