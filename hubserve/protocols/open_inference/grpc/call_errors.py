"""Deadline, checks and error status of every gRPC call."""

import logging
import time
from collections.abc import Callable
from functools import partial

from hubserve.errors import HubError, TooLarge
from hubserve.net.grpc.call import Call
from hubserve.net.grpc.framing import Message
from hubserve.net.grpc.status import RpcError, Status
from hubserve.protocols.base import Context
from hubserve.protocols.open_inference.core.errors import grpc_status
from hubserve.protocols.open_inference.core.shared_memory import refuse_shared_memory
from hubserve.protocols.open_inference.grpc.codec import sendable
from hubserve.settings import ServerSettings

log = logging.getLogger("hubserve")

#: clients accept 8 KiB of trailers, in which a byte may take three
_MAX_TEXT_BYTES = 2000
#: decoding a longer message of small fields would block the event loop
_MAX_SMALL_BYTES = 256 << 10
_UNEXPECTED = "an unexpected error in the server; its log has the details"


def refusal(error: Exception) -> tuple[Status, str]:
    """Return the status and text of an error; an unexpected one is logged and described without internals."""
    if isinstance(error, HubError):
        return Status[grpc_status(error)], sendable(error.message, _MAX_TEXT_BYTES)
    log.error("an unexpected error while answering a gRPC call", exc_info=error)
    return Status.INTERNAL, _UNEXPECTED


def status_of(error: Exception) -> str:
    """Return the name of the status of an error."""
    if isinstance(error, RpcError):
        return error.status.name
    return grpc_status(error) if isinstance(error, HubError) else Status.INTERNAL.name


def deadline_of(call: Call, settings: ServerSettings) -> float:
    """Return a call's deadline on the clock of ``time.monotonic``: the client's, or ``request_timeout_s`` from now if that is sooner."""
    latest = time.monotonic() + settings.request_timeout_s
    return latest if call.deadline is None else min(call.deadline, latest)


def memory_check(context: Context, call: Call) -> Callable[[], None] | None:
    """Return a check that raises Forbidden unless the client may use shared memory; None if the server has none."""
    if not context.settings.shared_memory:
        return None
    return partial(context.admin.check_call, call.peer, call.metadata) if context.admin else refuse_shared_memory


def check_small(data: Message) -> None:
    """Check the length of a message of a call that does not compute.

    Raises:
        TooLarge: it is too long.
    """
    if len(data) > _MAX_SMALL_BYTES:
        raise TooLarge(f"the message has {len(data)} bytes, and calls that do not compute take at most {_MAX_SMALL_BYTES}")
