"""Formats of the log: text for people, JSON for programs; both name the module and the requests that a line concerns."""

import json
import logging
import re
import time
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

from hubserve.telemetry.request_record import CURRENT

DEFAULT, ISO = "default", "ISO8601"
#: control characters but tab and line feed, with which a text could change what a terminal shows
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
#: attributes of log records by which lines name what they concern
_CONTEXT = ("module_name", "version", "instance", "request_id")


class TimeFormat:
    """Time format of text lines, which can be changed while the server runs.

    Attributes:
        name: ``default``, local time with milliseconds, or ``ISO8601``, UTC.
    """

    name = DEFAULT


def escaped(text: str) -> str:
    """Return a text whose control characters are written out, except tabs and line feeds."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}" if ord(found[0]) < 0x100 else f"\\u{ord(found[0]):04x}", text)


def request_id_of(record: logging.LogRecord) -> str:
    """Return the ids of the requests that a log record concerns; "" for none.

    A record without ``request_id`` concerns the request that is answered by the task that logs.
    """
    named: str | None = getattr(record, "request_id", None)
    if named is not None:
        return named
    current = CURRENT.get()
    return current.identify() if current is not None else ""


def _trace_id_of(record: logging.LogRecord) -> str:
    """Return the id of the trace of the request that a log record concerns; "" for none."""
    current = CURRENT.get()
    own = current.trace.id if current is not None and current.trace is not None else ""
    return getattr(record, "trace_id", own)


def prefix_of(record: logging.LogRecord) -> str:
    """Return what a line of text begins with: the module, its version and instance, and the requests."""
    request_id = request_id_of(record)
    module, version, instance = (getattr(record, each, "") for each in _CONTEXT[:3])
    words = f"{module}@{version}" if version else module
    words += f" #{instance}" if instance else ""
    return (f"[{escaped(words)}] " if words else "") + (f"[request {request_id}] " if request_id else "")


class TextFormatter(logging.Formatter):
    """Formatter of text lines; further lines of a message are indented, so that none looks like a line of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(context)s%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of one record."""
        record.context = prefix_of(record)
        return escaped(super().format(record)).replace("\n", "\n  ").rstrip()

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """Return the time of one record."""
        if TimeFormat.name == ISO:
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        return super().formatTime(record, datefmt)


class JsonFormatter(logging.Formatter):
    """Formatter of JSON objects, one a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON of one record."""
        line: dict[str, Any] = {"time": utc_time(record.created), "level": record.levelname.lower(), "message": record.getMessage()}
        for name, value in zip(("module", "version", "instance"), (getattr(record, each, "") for each in _CONTEXT), strict=False):
            if value:
                line[name] = value
        if request_id := request_id_of(record):
            line["request_id"] = request_id
        if trace_id := _trace_id_of(record):
            line["trace_id"] = trace_id
        if record.name != "hubserve":
            line["logger"] = record.name
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def utc_time(seconds: float) -> str:
    """Return a time in ISO 8601 with milliseconds, such as ``2026-01-31T23:59:59.123Z``.

    Args:
        seconds: since 1970.
    """
    return _utc_millisecond(int(seconds * 1000))


@lru_cache(maxsize=64)  # a busy server writes several lines in a millisecond
def _utc_millisecond(milliseconds: int) -> str:
    return f"{_utc_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=4)
def _utc_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
