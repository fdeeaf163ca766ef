"""The access log: one line for each request of a client, which a thread writes."""

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from hubserve.telemetry.line_writer import LineWriter
from hubserve.telemetry.log_format import escaped, utc_time
from hubserve.telemetry.request_record import RequestRecord

log = logging.getLogger("hubserve")

#: characters of a path or an address that are logged
_LONGEST = 512
#: fields that most requests have in common with others, in the order of :func:`fields_of`
_SAME = ("client", "key", "protocol", "method", "path", "status", "module", "version", "error")
_MOST_KEPT = 512
Line = Callable[[RequestRecord, float], bytes]


def fields_of(record: RequestRecord, ended: float) -> dict[str, Any]:
    """Return what the access log has of a request; times in milliseconds, those of the stages None for a request without them.

    Args:
        record: of a request that has ended.
        ended: when, in seconds since 1970.
    """
    marks, path = record.marks or {}, record.path
    return {
        "time": utc_time(ended),
        "request_id": record.request_id or record.identify(),
        "client": record.peer[:_LONGEST],
        "key": record.access.name if record.access else "",
        "protocol": record.protocol,
        "method": record.method,
        "path": (path if "?" not in path else path.partition("?")[0])[:_LONGEST],
        "status": record.status,
        "module": record.module,
        "version": record.version,
        "error": record.error,
        # rounded to microseconds; round() takes three times as long
        "ms": int((record.ended_at - record.started_at) * 1e6 + 0.5) / 1e3,
        "queue_ms": int((marks["begun"] - marks["queued"]) * 1e6 + 0.5) / 1e3 if "begun" in marks else None,
        "compute_ms": int((marks["computed"] - marks["computing"]) * 1e6 + 0.5) / 1e3 if "computed" in marks else None,
        "bytes_in": record.received_bytes,
        "bytes_out": record.sent_bytes,
    }


class JsonLines:
    """Formatter of lines as JSON objects, in ASCII.

    Most requests differ from others in a few fields only. The JSON of the rest, which is most of a line, is kept: making it anew would take
    most of the time.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str | int, ...], str] = {}

    def __call__(self, record: RequestRecord, ended: float) -> bytes:
        """Return the line of a request, with the ``trace_id`` of one that is traced."""
        request_id, marks = record.request_id or record.identify(), record.marks
        if record.trace is not None or not marks or "computed" not in marks or '"' in request_id or "\\" in request_id:
            return _json_line(record, ended)
        key = record.access.name if record.access else ""
        same = (record.path, record.peer, key, record.protocol, record.method, record.status, record.module, record.version, record.error)
        kept = self._kept.get(same)
        if kept is None:
            kept = self._keep(same, fields_of(record, ended))
        ms = int((record.ended_at - record.started_at) * 1e6 + 0.5) / 1e3
        queue_ms = int((marks["begun"] - marks["queued"]) * 1e6 + 0.5) / 1e3
        compute_ms = int((marks["computed"] - marks["computing"]) * 1e6 + 0.5) / 1e3
        return (
            f'{{"time":"{utc_time(ended)}","request_id":"{request_id}",{kept},"ms":{ms},"queue_ms":{queue_ms},"compute_ms":{compute_ms},'
            f'"bytes_in":{record.received_bytes},"bytes_out":{record.sent_bytes}}}\n'
        ).encode()

    def _keep(self, same: tuple[str | int, ...], fields: dict[str, Any]) -> str:
        if len(self._kept) >= _MOST_KEPT:  # clients can ask for any path, from any address
            self._kept.clear()
        kept = self._kept[same] = json.dumps({name: fields[name] for name in _SAME}, separators=(",", ":"))[1:-1]
        return kept


def _json_line(record: RequestRecord, ended: float) -> bytes:
    fields = fields_of(record, ended)
    if record.trace is not None:
        fields["trace_id"] = record.trace.id
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def text_line(record: RequestRecord, ended: float) -> bytes:
    """Return the line of a request as text; unknown values are ``-``."""
    fields = fields_of(record, ended)
    shown = {name: _word(value) for name, value in fields.items()}
    module = f"{shown['module']}@{shown['version']}" if record.module else "-"
    return (
        f"{shown['time']} {shown['client']} {shown['protocol']} {shown['method']} {shown['path']} {shown['status']} {module} "
        f"error={shown['error']} ms={shown['ms']} queue_ms={shown['queue_ms']} compute_ms={shown['compute_ms']} "
        f"bytes_in={shown['bytes_in']} bytes_out={shown['bytes_out']} key={shown['key']} request_id={shown['request_id']}\n"
    ).encode("utf-8", "backslashreplace")


def _word(value: Any) -> str:
    """Return a value as one word."""
    if value is None or value == "":
        return "-"
    return "".join("%20" if each.isspace() else each for each in escaped(str(value)))


_FORMS: dict[str, Callable[[], Line]] = {"json": JsonLines, "text": lambda: text_line}


def lost_line(form: str, count: int) -> bytes:
    """Return the line that says how many lines were not written."""
    message = f"{count} lines are missing here, because this log could not be written fast enough"
    return (json.dumps({"time": utc_time(time.time()), "message": message}) if form == "json" else message).encode() + b"\n"


class AccessLog:
    """Listener of ended requests.

    Args:
        form: ``text`` or ``json``.
        writer: of the lines; None to pass them to the logger ``access`` below that of hubserve, whose handlers the application chooses.
    """

    def __init__(self, form: str, writer: LineWriter | None) -> None:
        self._line = _FORMS[form]()
        self._writer = writer
        self._log = logging.getLogger("hubserve.access")

    def __call__(self, record: RequestRecord) -> None:
        """Log one request."""
        ended = time.time()
        if self._writer is not None:
            self._writer.write(self._line(record, ended))
        else:
            self._log.info("%s", self._line(record, ended).decode().rstrip("\n"), extra={"request_id": ""})

    def close(self) -> None:
        """Write the lines that wait."""
        if self._writer is not None:
            self._writer.close()
