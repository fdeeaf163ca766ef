"""Lines of the access log."""

import json

import pytest

from hubserve.telemetry.access_log import JsonLines, fields_of
from hubserve.telemetry.log_format import utc_time
from hubserve.telemetry.request_record import RequestRecord

#: of a request without a module, of one that no instance has answered yet, and of one that was computed
MARKS = (None, {"queued": 1.0, "begun": 1.002}, {"queued": 1.0, "begun": 1.002, "computing": 1.0025, "computed": 1.25, "answered": 1.3})


@pytest.mark.parametrize("marks", MARKS)
@pytest.mark.parametrize("path", ["/predict/shout", "/größe", "/a\nb\x1b[2J", "/\x9b2J\u2028", "/\ud800", '/"\\'])
def test_a_line_of_json_is_one_line_of_ascii_with_all_fields(path: str, marks: dict[str, float] | None) -> None:
    lines = JsonLines()
    for number, request_id in enumerate(("", "a", 'with"quotes', "with\\backslash\\")):
        record = RequestRecord(1.0)
        record.path, record.status, record.ended_at, record.marks, record.request_id = path, 200 + number // 2, 1.5, marks, request_id
        record.received_bytes, record.sent_bytes = number, 100 * number
        line = lines(record, 1e9 + number)
        assert line.endswith(b"}\n")
        assert all(32 <= byte < 127 for byte in line[:-1])
        assert json.loads(line) == fields_of(record, 1e9 + number)
        assert list(json.loads(line)) == list(fields_of(record, 1e9))


def test_what_lines_have_in_common_is_kept_within_bounds() -> None:
    lines = JsonLines()
    for number in range(2000):
        record = RequestRecord(1.0)
        record.path, record.marks, record.ended_at = f"/{number}", MARKS[2], 1.5
        assert json.loads(lines(record, 1e9))["path"] == f"/{number}"
        assert len(lines._kept) <= 512


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "1970-01-01T00:00:00.000Z"), (1e9 + 0.0625, "2001-09-09T01:46:40.062Z"), (1e9 + 0.9999, "2001-09-09T01:46:40.999Z")],
)
def test_times_are_utc_with_milliseconds(seconds: float, text: str) -> None:
    assert utc_time(seconds) == text
