"""Lines of the access log."""

import json

import pytest

from hubserve.telemetry.access_log import fields_of, json_line
from hubserve.telemetry.log_format import utc_time
from hubserve.telemetry.request_record import RequestRecord


@pytest.mark.parametrize("path", ["/predict/shout", "/größe", "/a\nb\x1b[2J", "/\x9b2J\u2028", "/\ud800", '/"\\'])
def test_a_line_of_json_is_one_line_of_ascii_with_all_fields(path: str) -> None:
    record = RequestRecord(1.0)
    record.path, record.status, record.ended_at, record.marks = path, 200, 1.5, {"queued": 1.0, "begun": 1.002}
    line = json_line(record, 1e9)
    assert line.endswith(b"}\n")
    assert all(32 <= byte < 127 for byte in line[:-1])
    assert json.loads(line) == fields_of(record, 1e9)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "1970-01-01T00:00:00.000Z"), (1e9 + 0.0625, "2001-09-09T01:46:40.062Z"), (1e9 + 0.9999, "2001-09-09T01:46:40.999Z")],
)
def test_times_are_utc_with_milliseconds(seconds: float, text: str) -> None:
    assert utc_time(seconds) == text
