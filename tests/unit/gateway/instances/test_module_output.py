"""Read the output of real processes: all of it, or a count of what was left out, without waiting for anything."""

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hubserve.gateway.instances import module_output
from hubserve.gateway.instances.frame_records import FrameRecords, ids_of
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.instances.module_output import ModuleOutput
from hubserve.telemetry.request_record import RequestRecord

SPEC = InstanceSpec("shout", "paddlehub", Path(), "shout", version="1.0.0", number=3)


def started(output: ModuleOutput, code: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", code], stdout=output.writing_fd, stderr=output.writing_fd)


async def ended(child: "subprocess.Popen[bytes]") -> None:
    while child.poll() is None:  # noqa: ASYNC110 - as a test may
        await asyncio.sleep(0.01)


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "hubserve")

    return lambda: [each.getMessage() for each in caplog.records]


def test_every_line_is_logged_or_counted(messages: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_output, "_PAUSE_S", 0.2)
    count = 50_000

    async def scenario() -> None:
        output = ModuleOutput(SPEC, FrameRecords())
        child = started(output, f"import sys; sys.stdout.writelines('line %d\\n' % each for each in range({count}))")
        output.start()
        await ended(child)
        output.finish()

    asyncio.run(scenario())
    reports = [each for each in messages() if "lines of the module's output were left out" in each]
    missing = sum(int(each.split()[0]) for each in reports)
    assert missing > 0
    assert len(messages()) - len(reports) + missing == count


@pytest.mark.parametrize("ends_by", ["os._exit(1)", "__import__('faulthandler')._sigsegv()"])
def test_the_last_words_of_a_process_that_wrote_too_much_are_logged(messages: Callable[[], list[str]], ends_by: str) -> None:
    code = f"""
import faulthandler, os, sys
from hubserve.instance.output import mark_output
faulthandler.enable()
if {ends_by!r}.startswith("os"):
    mark_output()
for number in range(20000):
    print("line", number)
print("the last words", flush=True)
{ends_by}
"""

    async def scenario() -> None:
        output = ModuleOutput(SPEC, FrameRecords())
        child = started(output, code)
        output.start()
        await ended(child)
        output.finish()
        output.close()

    asyncio.run(scenario())
    said = messages()
    reports = [each for each in said if "lines of the module's output were left out" in each]
    assert reports
    assert said.count("the last words") == 1
    assert said.index("the last words") > said.index(reports[-1])
    assert ("Fatal Python error: Segmentation fault" in said) == ("sigsegv" in ends_by)
    assert all(each in reports or each.startswith("line ") for each in said[: said.index("the last words")]), "no broken mark is shown"


def test_a_process_left_behind_holds_up_nothing_and_is_still_read(messages: Callable[[], list[str]], tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    left = f"echo $$; while [ ! -e {go_on} ]; do sleep 0.05; done; echo late; exec sleep 60"

    async def scenario() -> None:
        output = ModuleOutput(SPEC, FrameRecords())
        code = f"import os, subprocess; subprocess.Popen(['sh', '-c', {left!r}]); os.write(1, b'last')"
        child = started(output, code)
        output.start()
        await ended(child)
        output.finish()  # though the process that is left has not ended
        assert "late" not in messages()
        go_on.touch()
        assert "last" in " ".join(messages())
        while "late" not in messages():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        os.kill(int(next(each for each in messages() if each.replace("last", "").isdigit()).replace("last", "")), signal.SIGKILL)
        output.close()

    asyncio.run(scenario())


def test_no_descriptor_is_left(messages: Callable[[], list[str]]) -> None:
    async def scenario() -> None:
        gc.collect()  # what other tests left would be closed some time
        before = len(os.listdir("/proc/self/fd"))
        for how in ("pass", "print('x')", "import os; os.close(1); os.close(2)", "import os; os._exit(3)"):
            output = ModuleOutput(SPEC, FrameRecords())
            child = started(output, how)
            output.start()
            await ended(child)
            output.finish()
            output.close()
        ModuleOutput(SPEC, FrameRecords()).close()  # of a process that could not be started
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(scenario())
    assert messages() == ["x"]


def test_lines_have_the_fields_of_the_instance(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hubserve")

    async def scenario() -> None:
        output = ModuleOutput(SPEC, FrameRecords())
        child = started(output, "print('hello')")
        output.start()
        await ended(child)
        output.finish()

    asyncio.run(scenario())
    (record,) = caplog.records
    fields = {name: getattr(record, name) for name in ("module_name", "version", "instance", "request_id")}
    assert fields == {"module_name": "shout", "version": "1.0.0", "instance": "3", "request_id": ""}


def test_records_of_frames_are_found_by_their_number_for_a_while() -> None:
    frames = FrameRecords()
    records = [RequestRecord(float(number)) for number in range(400)]
    for each in records:
        frames.begin([each, None])
    assert frames.of(400) == [records[399], None]
    assert frames.of(400, 0) == [records[399]]
    assert frames.of(1) == frames.of(0) == frames.of(401) == ()
    assert frames.latest(0) == frames.latest(1) == [records[399], None]
    assert frames.latest(2) == [records[398], None]
    frames.keep_more()
    for _ in range(1000):
        frames.begin([])
    assert frames.of(400) == [records[399], None]


def test_many_ids_are_shown_as_a_few() -> None:
    records = [RequestRecord(0.0) for _ in range(10)]
    for number, record in enumerate(records):
        record.request_id = f"r{number}"
    assert ids_of(records) == "r0,r1,r2,r3,r4,r5,r6,r7,+2"
    assert ids_of([]) == ids_of([None]) == ""
