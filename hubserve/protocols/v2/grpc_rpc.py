"""What every gRPC call has: so much time, and a status when it fails."""

import logging
import time
from typing import Any

import grpc

from hubserve.errors import HubError
from hubserve.protocols.v2.errors import grpc_status
from hubserve.protocols.v2.grpc_codec import sendable
from hubserve.settings import ServerSettings

log = logging.getLogger("hubserve")

#: clients take 8 KiB of trailers, in which a byte may need three
_LONGEST_TEXT_BYTES = 2000
_UNEXPECTED = "an unexpected error in the server; its log has the details"


def refusal(error: Exception) -> tuple[grpc.StatusCode, str]:
    """The status and text that answer an error; one that nobody foresaw is logged, and told without internals."""
    if isinstance(error, HubError):
        return getattr(grpc.StatusCode, grpc_status(error)), sendable(error.message, _LONGEST_TEXT_BYTES)
    log.error("an unexpected error while answering a gRPC call", exc_info=error)
    return grpc.StatusCode.INTERNAL, _UNEXPECTED


def deadline_of(rpc: Any, settings: ServerSettings) -> float:
    """When a call is to be given up, on the clock of ``time.monotonic``: when its client says so, or after ``request_timeout_s``."""
    left_s = rpc.time_remaining()
    return time.monotonic() + (settings.request_timeout_s if left_s is None else min(left_s, settings.request_timeout_s))
