"""Logs whose destination is blocked or full: lines are lost and counted, and those who log never wait."""

import json
import logging
import os
import re
import threading
from functools import partial
from pathlib import Path

import pytest

from hubserve.telemetry.access_log import lost_line
from hubserve.telemetry.line_writer import LineWriter, WriterHandler
from hubserve.telemetry.log_file import LogFile
from hubserve.telemetry.log_format import JsonFormatter

LINES = 60_000


class Pipe:
    """A pipe as the destination of a log."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()

    def fileno(self) -> int:
        return self._writer

    def write(self, lines: bytes) -> None:
        left = memoryview(lines)
        while left:
            left = left[os.write(self._writer, left) :]

    def close(self) -> None:
        os.close(self._writer)


@pytest.mark.parametrize("delay_s", [0.0, 0.05])
def test_a_reader_that_has_stopped_costs_lines_that_are_counted_and_holds_up_nobody(delay_s: float) -> None:
    pipe = Pipe()
    writer = LineWriter(pipe, partial(lost_line, "json"), delay_s)
    logging_thread = threading.Thread(target=lambda: [writer.write(b'{"n": %d}\n' % each) for each in range(LINES)])
    logging_thread.start()
    logging_thread.join(60)
    assert not logging_thread.is_alive(), "it waits for the reader"
    read: list[bytes] = []
    reading = threading.Thread(target=lambda: read.extend(iter(lambda: os.read(pipe.reader, 65536), b"")))
    reading.start()
    writer.close(30)
    pipe.close()
    reading.join(60)
    os.close(pipe.reader)
    lines = [json.loads(line) for line in b"".join(read).splitlines()]
    numbers = [line["n"] for line in lines if "n" in line]
    missing = sum(int(line["message"].split()[0]) for line in lines if "message" in line)
    assert numbers == sorted(numbers)
    assert missing > 0
    assert len(numbers) + missing == LINES


def test_every_line_of_a_json_log_is_json_also_those_about_lost_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = LineWriter(LogFile(path, 100, 1), partial(lost_line, "json"))
    handler = WriterHandler(writer)
    handler.setFormatter(JsonFormatter())
    handler.emit(logging.LogRecord("hubserve", logging.INFO, "", 0, "two\nlines \x1b[31m", None, None))
    writer.close()
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["message"] == "two\nlines \x1b[31m"
    assert json.loads(lost_line("json", 3))["message"].startswith("3 lines are missing")


def test_files_are_rotated_by_size_and_the_oldest_are_removed(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", 1, 2)
    for number in range(5):
        file.write(b"%d" % number + b"x" * (600 << 10) + b"\n")
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["log", "log.1", "log.2"]
    assert [(tmp_path / name).read_bytes()[:1] for name in names] == [b"4", b"3", b"2"]
    assert re.fullmatch(rb"4x+\n", (tmp_path / "log").read_bytes())
