"""gRPC methods and their handlers, and the parsed headers of a call."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hubserve.net.deadline_monitor import DeadlineMonitor
from hubserve.net.grpc.framing import Budget, Message
from hubserve.net.grpc.status import Status
from hubserve.net.http2.header_rules import Field

_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])", re.ASCII)
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


@dataclass(frozen=True, slots=True)
class Head:
    """Parsed headers of a call.

    Attributes:
        path: service and method.
        metadata: name -> value; the last one if a name is repeated.
        timeout_s: how long the client waits; None for no limit.
        coding: how compressed messages are compressed; "" for none.
        refusal: the HTTP status that answers a request that is not a gRPC call; 0 if it is one.
    """

    path: str
    metadata: Mapping[str, str]
    timeout_s: float | None
    coding: str
    refusal: int


def make_head(fields: list[Field]) -> Head:
    """Make a head of the fields of a request."""
    metadata = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
    refusal = 0
    if metadata.get(":method") != "POST":
        refusal = 405
    elif not re.match(r"application/grpc($|[+;])", metadata.get("content-type", "")):
        refusal = 415
    timeout = _TIMEOUT.fullmatch(metadata.get("grpc-timeout", "").encode("latin-1"))
    timeout_s = int(timeout[1]) * _UNITS[timeout[2]] if timeout else None
    coding = metadata.get("grpc-encoding", "")
    return Head(metadata.get(":path", ""), metadata, timeout_s, "" if coding == "identity" else coding, refusal)


@dataclass(frozen=True, slots=True)
class Method:
    """Handler of one method's calls.

    Attributes:
        answer: of a unary one, takes the message and the call and gives the answer's message in its parts; of a stream, takes the call.
        streams: whether the call is a stream of messages in both directions.
    """

    answer: Callable[..., Awaitable[Any]]
    streams: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """The methods of a server, and the limits of their calls.

    Attributes:
        methods: path -> method.
        max_calls: how many may be in progress at once.
        max_message_bytes: the longest message of a client.
        client_timeout_s: how long a client may take for a message beyond what its length explains, and to take an answer.
        budget: accounts for messages that are not complete, and answers that are not written.
        deadlines: watches deadlines.
        unpack: decompresses a message; takes the message and the name of its coding.
        refuse: maps an error to a status and text.
    """

    methods: Mapping[str, Method]
    max_calls: int
    max_message_bytes: int
    client_timeout_s: float
    budget: Budget
    deadlines: DeadlineMonitor
    unpack: Callable[[Message, str], Awaitable[Message]]
    refuse: Callable[[Exception], tuple[Status, str]]
