"""The processes that decode large requests: started when needed, replaced when they die, stopped when idle."""

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from hubserve.errors import HubError, InvalidInput, TooLarge, Unavailable
from hubserve.protocols import decoders as module
from hubserve.protocols.decoders import Decoders
from hubserve.telemetry.log_format import TextFormatter
from hubserve.telemetry.request_record import CURRENT, RequestRecord
from hubserve.wire.frames import Frame

HERE = "tests.unit.protocols.test_decoders:"


def echo(arguments: dict[str, Any], buffers: list[memoryview]) -> tuple[dict[str, Any], list[Any]]:
    return {"pid": os.getpid(), **arguments}, list(buffers)


def fail(arguments: dict[str, Any], buffers: list[memoryview]) -> tuple[dict[str, Any], list[Any]]:
    raise {"known": InvalidInput("no"), "memory": MemoryError(), "other": ZeroDivisionError("oh"), "exit": SystemExit(3)}[arguments["how"]]


def end(arguments: dict[str, Any], buffers: list[memoryview]) -> tuple[dict[str, Any], list[Any]]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}, []


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    made = Decoders()
    yield made
    made.close()


def call(decoders: Decoders, function: str, buffers: Any = (), **arguments: Any) -> Frame:
    return asyncio.run(decoders.call(HERE + function, arguments, buffers, lambda frame: frame))


def test_a_function_is_given_its_arguments_and_buffers_in_another_process(decoders: Decoders) -> None:
    frame = call(decoders, "echo", [b"small", b"x" * 3_000_000], a=[1, None])
    assert frame.header["a"] == [1, None]
    assert frame.header["pid"] != os.getpid()
    assert [bytes(each) for each in frame.buffers] == [b"small", b"x" * 3_000_000]


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [("known", InvalidInput, "no"), ("memory", TooLarge, "memory"), ("other", HubError, "oh"), ("exit", HubError, "3")],
)
def test_errors_are_raised_and_the_process_continues(decoders: Decoders, how: str, error: type[Exception], words: str) -> None:
    before = call(decoders, "echo").header["pid"]
    with pytest.raises(error, match=words):
        call(decoders, "fail", how=how)
    assert call(decoders, "echo").header["pid"] == before


def test_the_traceback_of_an_unexpected_error_is_logged_once_with_the_request(
    decoders: Decoders, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    record = RequestRecord(0.0)
    record.accept_id("mine-1")

    async def scenario() -> None:
        CURRENT.set(record)
        for how in ("known", "other"):
            with pytest.raises(HubError):
                await decoders.call(HERE + "fail", {"how": how}, (), lambda frame: frame)

    caplog.handler.setFormatter(TextFormatter())
    asyncio.run(scenario())
    assert caplog.text.count("ZeroDivisionError: oh") == 1
    assert "[request mine-1] the request could not be decoded: oh; the server's log has the details: Traceback" in caplog.text
    assert "Traceback" not in capfd.readouterr().err


def test_only_buffers_may_be_large(decoders: Decoders) -> None:
    with pytest.raises(TooLarge, match="more than 1 MiB"):
        call(decoders, "echo", text="x" * (1 << 20))


def test_a_process_that_was_killed_is_replaced(decoders: Decoders) -> None:
    before = call(decoders, "echo").header["pid"]
    os.kill(before, signal.SIGKILL)
    after = call(decoders, "echo").header["pid"]
    assert after != before
    assert before not in [each.pid for each in psutil.Process().children()]


def test_a_request_that_ends_two_processes_is_refused(decoders: Decoders) -> None:
    with pytest.raises(Unavailable, match="ended twice"):
        call(decoders, "end")
    assert call(decoders, "echo").header["pid"]


def test_concurrent_requests_are_decoded_by_two_processes(decoders: Decoders) -> None:
    async def all_at_once() -> set[int]:
        frames = [decoders.call(HERE + "echo", {}, [b"x" * 100_000], lambda frame: frame) for _ in range(8)]
        return {frame.header["pid"] for frame in await asyncio.gather(*frames)}

    assert len(asyncio.run(all_at_once())) <= 2


def test_an_idle_process_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE_S", 0.05)
    decoders = Decoders()

    async def use() -> int:
        pid = (await decoders.call(HERE + "echo", {}, [], lambda frame: frame)).header["pid"]
        for _ in range(6000):
            if psutil.pid_exists(pid):
                await asyncio.sleep(0.02)
        return int(pid)

    assert not psutil.pid_exists(asyncio.run(use()))
    decoders.close()


def test_a_closed_pool_starts_no_process() -> None:
    decoders = Decoders()
    pid = call(decoders, "echo").header["pid"]
    decoders.close()
    assert not psutil.pid_exists(pid)
    with pytest.raises((Unavailable, RuntimeError)):
        call(decoders, "echo")
