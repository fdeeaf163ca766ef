"""gRPC methods and their handlers, and the parsed headers of a call."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hubserve.access.gate import Gate
from hubserve.access.keys import Need
from hubserve.net.admission import MemoryBudget
from hubserve.net.deadline_monitor import DeadlineMonitor
from hubserve.net.grpc.framing import Message
from hubserve.net.grpc.status import Status
from hubserve.net.http2.header_rules import Field
from hubserve.telemetry.telemetry import Telemetry

_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])", re.ASCII)
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


@dataclass(frozen=True, slots=True)
class Head:
    """Parsed headers of a call.

    Attributes:
        path: service and method.
        metadata: name -> value; the last one if a name is repeated.
        timeout_s: the client's timeout; None for none.
        encoding: compression of compressed messages; "" for none.
        refusal: the HTTP status that answers a request that is not a gRPC call; 0 if it is one.
    """

    path: str
    metadata: Mapping[str, str]
    timeout_s: float | None
    encoding: str
    refusal: int


def make_head(fields: list[Field]) -> Head:
    """Make the head of a request from its header fields."""
    metadata = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
    refusal = 0
    if metadata.get(":method") != "POST":
        refusal = 405
    elif not re.match(r"application/grpc($|[+;])", metadata.get("content-type", "")):
        refusal = 415
    timeout = _TIMEOUT.fullmatch(metadata.get("grpc-timeout", "").encode("latin-1"))
    timeout_s = int(timeout[1]) * _UNITS[timeout[2]] if timeout else None
    encoding = metadata.get("grpc-encoding", "")
    return Head(metadata.get(":path", ""), metadata, timeout_s, "" if encoding == "identity" else encoding, refusal)


@dataclass(frozen=True, slots=True)
class Method:
    """Handler of one method's calls.

    Attributes:
        answer: handler; of a unary method, takes the message and the call and returns the response in parts; of a stream, takes the call.
        streams: whether calls are streams of messages in both directions.
        need: what a call needs its client's key to permit, on a server with keys; a method that does not say is for admins.
        has_requests: whether each message of a stream is a request with a record of its own, which its handler begins and ends.
    """

    answer: Callable[..., Awaitable[Any]]
    streams: bool = False
    need: Need = Need.ADMIN
    has_requests: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """The methods of a server, and the limits of their calls.

    Attributes:
        methods: path -> method.
        max_calls: calls that may be in progress at once.
        max_message_bytes: the longest message of a client.
        client_timeout_s: period over which a client must keep its pace, sending a message or reading a response.
        budget: accounts for incomplete messages, and for responses that are not sent.
        deadlines: watches deadlines.
        decompress: takes a message and the name of its encoding.
        refuse: maps an error to a status and a text.
        telemetry: receives the record of each call.
        client_of: returns the address of the client behind a proxy, from the address of the connection and ``x-forwarded-for``; None if
            there is no proxy.
        gate: checks keys; None if the server has none.
    """

    methods: Mapping[str, Method]
    max_calls: int
    max_message_bytes: int
    client_timeout_s: float
    budget: MemoryBudget
    deadlines: DeadlineMonitor
    decompress: Callable[[Message, str], Awaitable[Message]]
    refuse: Callable[[Exception], tuple[Status, str]]
    telemetry: Telemetry = field(default_factory=Telemetry)
    client_of: Callable[[str, str], str] | None = None
    gate: Gate | None = None
