"""What every gRPC call has: so much time, and a status when it fails."""

import logging
import time
from collections.abc import Callable
from functools import partial

from hubserve.errors import HubError, TooLarge
from hubserve.net.grpc.call import Call
from hubserve.net.grpc.framing import Message
from hubserve.net.grpc.status import Status
from hubserve.protocols.base import Context
from hubserve.protocols.open_inference.core.errors import grpc_status
from hubserve.protocols.open_inference.grpc.codec import sendable
from hubserve.settings import ServerSettings

log = logging.getLogger("hubserve")

#: clients take 8 KiB of trailers, in which a byte may need three
_LONGEST_TEXT_BYTES = 2000
#: decoding more of many small fields would hold up others
_MOST_BYTES = 256 << 10
_UNEXPECTED = "an unexpected error in the server; its log has the details"


def refusal(error: Exception) -> tuple[Status, str]:
    """The status and text that answer an error; one that nobody foresaw is logged, and told without internals."""
    if isinstance(error, HubError):
        return Status[grpc_status(error)], sendable(error.message, _LONGEST_TEXT_BYTES)
    log.error("an unexpected error while answering a gRPC call", exc_info=error)
    return Status.INTERNAL, _UNEXPECTED


def deadline_of(call: Call, settings: ServerSettings) -> float:
    """When a call is to be given up, on the clock of ``time.monotonic``: when its client says so, or after ``request_timeout_s``."""
    latest = time.monotonic() + settings.request_timeout_s
    return latest if call.deadline is None else min(call.deadline, latest)


def memory_check(context: Context, call: Call) -> Callable[[], None] | None:
    """Return a check that refuses a call unless its client may have tensors in shared memory; None if the server has none."""
    return partial(context.admin.check_call, call.peer, call.metadata) if context.settings.shared_memory else None


def check_small(data: Message) -> None:
    """Refuse a message that is too long for a call that does not compute.

    Raises:
        TooLarge: it is.
    """
    if len(data) > _MOST_BYTES:
        raise TooLarge(f"the message has {len(data)} bytes, and calls that do not compute take at most {_MOST_BYTES}")
