"""Logs whose destination is blocked or full: lines are lost and counted, and those who log never wait."""

import contextlib
import json
import logging
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_lines_that_a_full_disk_did_not_take_are_counted_once_there_is_room(small_disk: Path) -> None:
    path = small_disk / "log"
    filler = small_disk / "filler"
    with contextlib.suppress(OSError):
        filler.write_bytes(b"x" * (61 << 10))
    writer = LineWriter(LogFile(path, 100, 1), partial(lost_line, "json"))
    count = 2000
    for number in range(count):
        writer.write(b'{"n": %d}\n' % number)
    deadline = time.monotonic() + 30
    while not writer._missing and time.monotonic() < deadline:  # until the writing thread has tried
        time.sleep(0.01)
    filler.unlink()
    deadline = time.monotonic() + 30
    while b"missing" not in path.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.05)
        writer.write(b'{"later": 1}\n')
    writer.close()
    read = path.read_bytes().splitlines()
    torn = [each for each in read if not each.endswith(b"}")]
    assert len(torn) <= 2, "a line that was cut by the end of the disk stays apart from the next one"
    lines = [json.loads(each) for each in read if each not in torn]
    missing = sum(int(each["message"].split()[0]) for each in lines if "message" in each)
    assert missing > 0
    assert len([each for each in lines if "n" in each]) + missing >= count


def test_a_file_whose_folder_has_gone_is_made_again_or_its_lines_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    writer = LineWriter(LogFile(folder / "log", 100, 1), partial(lost_line, "json"))
    writer.write(b"first\n")
    shutil.rmtree(folder)
    writer.write(b"second\n")
    assert (folder / "log").read_bytes() == b"second\n"
    shutil.rmtree(folder)
    folder.write_bytes(b"in the way")
    writer.write(b"third\n")
    folder.unlink()
    writer.write(b"fourth\n")
    deadline = time.monotonic() + 30
    while not (folder / "log").exists() and time.monotonic() < deadline:  # the writing thread tries again every 0.5 s
        time.sleep(0.01)
    writer.close()
    assert b"fourth\n" in (folder / "log").read_bytes()
