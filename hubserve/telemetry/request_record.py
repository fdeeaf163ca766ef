"""The record of one client's request, which metrics, logs and traces are made of."""

import os
import re
from contextvars import ContextVar
from itertools import count

from hubserve.access.gate import Grant
from hubserve.errors import HubError
from hubserve.telemetry.spans import RequestTrace

_ID = re.compile(r"[!-~]{1,128}")
_counter = count(1)
_prefix = ""


class RequestRecord:
    """Hold the facts of one request of a client, over any protocol.

    It has defaults in the class and no ``__slots__``, because most requests set few of its attributes.

    Attributes:
        protocol: name of the protocol, as in the table of protocols; ``grpc`` for gRPC; "" if no protocol answered.
        method: HTTP's, or ``CALL`` for gRPC; ``STREAM`` for a gRPC stream whose requests have records of their own.
        path: that was requested, without the query.
        peer: the client's address without the port; "" if unknown.
        client_certificate: the subject of the client's certificate, such as ``CN=alice,O=Example``; "" for none.
        module, version: the served module that answered, as served; "" for a request to none, or to an unknown one.
        status: the HTTP status, or the name of the gRPC status; 0 if the client left before there was one.
        received_bytes, sent_bytes: of the request's and the response's body.
        started_at, ended_at: when its head had come and its response was written or given up, on the clock of ``time.monotonic``.
        error: code of the :class:`hubserve.errors.HubError` that was answered; "" for none.
        message: of that error.
        request_id: that the client sent, or that was made for it; "" until :meth:`identify` is called.
        access: what the client's key permits; None where the server has no keys, and before the key is checked.
        marks: collects the stages that the request passed and their times, in seconds of ``time.monotonic``; None if nothing asks
            for them.
        trace: its trace; None if it is not traced.
        trace_is_decided: whether the client has said, by a ``traceparent``, whether it is traced.
    """

    protocol = ""
    method = ""
    path = ""
    peer = ""
    client_certificate = ""
    module = ""
    version = ""
    status: int | str = 0
    received_bytes = 0
    sent_bytes = 0
    ended_at = 0.0
    error = ""
    message = ""
    request_id = ""
    access: Grant | None = None
    marks: dict[str, float] | None = None
    trace: RequestTrace | None = None
    trace_is_decided = False

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at

    def within(self, started_at: float, number: int) -> "RequestRecord":
        """Return the record of a request that came within this one, which is a stream: of the same client, with an id of its own.

        Args:
            started_at: when it had come.
            number: of the request within the stream, from 1; added to the stream's id if it has one.
        """
        record = RequestRecord(started_at)
        record.protocol, record.method, record.path, record.peer = self.protocol, "CALL", self.path, self.peer
        record.client_certificate, record.access = self.client_certificate, self.access
        if self.request_id:
            record.request_id = f"{self.request_id}.{number}"
        return record

    def accept_id(self, sent: str) -> None:
        """Take the id that a client sent; one that is too long, or has other characters than printable ASCII, is replaced."""
        self.request_id = sent if _ID.fullmatch(sent) else new_id()

    def identify(self) -> str:
        """Return the request's id; make one if it has none."""
        if not self.request_id:
            self.request_id = new_id()
        return self.request_id

    def concerns(self, module: str, version: str) -> None:
        """Note which module answers; the first one counts, as an ensemble and models that call others use several."""
        if not self.module:
            self.module, self.version = module, version


#: the record of the request that this task answers; None in tasks that answer none
CURRENT: ContextVar[RequestRecord | None] = ContextVar("hubserve_request", default=None)


def note_error(error: HubError) -> None:
    """Note in the current record that a request is answered with an error."""
    record = CURRENT.get()
    if record is not None:
        record.error, record.message = error.code, error.message


def new_id() -> str:
    """Return an id that no other request has: random for this process, and a counter."""
    return f"{_prefix}-{next(_counter):x}"


def _choose_prefix() -> None:
    global _prefix, _counter
    _prefix, _counter = os.urandom(8).hex(), count(1)


_choose_prefix()
os.register_at_fork(after_in_child=_choose_prefix)
