"""Detecting process exits, reserving descriptors, and keeping tasks running."""

import asyncio
import contextlib
import errno
import fcntl
import gc
import logging
import os
import resource
import subprocess
from collections.abc import Iterator

import pytest

from hubserve.gateway.background import repeat, run_in_background
from hubserve.gateway.instances.descriptor_reserve import Reserve
from hubserve.gateway.instances.exit_watch import ExitWatch
from hubserve.wire.arena import Arena


@pytest.mark.parametrize("has_pidfd", [True, False])
def test_the_end_of_a_process_is_reported_once_and_it_is_reaped(monkeypatch: pytest.MonkeyPatch, has_pidfd: bool) -> None:
    if not has_pidfd:
        monkeypatch.delattr(os, "pidfd_open")

    async def scenario() -> None:
        gc.collect()  # what other tests left would be closed some time
        child = subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220 - it starts in a moment
        before = len(os.listdir("/proc/self/fd"))
        told: list[int | None] = []
        ended = asyncio.Event()

        def on_exit() -> None:
            told.append(child.returncode)
            ended.set()

        ExitWatch(child, on_exit)
        await asyncio.sleep(0.15)
        assert not told
        child.kill()
        await asyncio.wait_for(ended.wait(), 20)
        await asyncio.sleep(0.15)
        assert told == [-9]
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(scenario())


@pytest.fixture
def no_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_reserved_descriptors_are_used_when_no_others_are_left(no_descriptors: None) -> None:
    reserve = Reserve(4)
    reserve.fill()
    crowd: list[int] = []
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with contextlib.suppress(OSError):
        while True:
            crowd.append(os.open(os.devnull, os.O_RDONLY))
    try:
        opened = reserve.spend_on(lambda: [os.open(os.devnull, os.O_RDONLY) for _ in range(3)])
        assert len(opened) == 3
        with pytest.raises(OSError, match="Too many open files"):
            reserve.spend_on(lambda: [os.open(os.devnull, os.O_RDONLY) for _ in range(9)])
    finally:
        reserve.release()
        for each in crowd:
            os.close(each)


def test_periodic_work_continues_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    enough = asyncio.Event()

    async def work() -> None:
        done.append(len(done))
        if len(done) == 4:
            enough.set()
        if len(done) == 2:
            raise ValueError("the second time")

    async def scenario() -> None:
        task = run_in_background(repeat(work, 0.001, "something was done"), "something was done")
        await asyncio.wait_for(enough.wait(), 20)
        task.cancel()

    asyncio.run(scenario())
    assert "an unexpected error while something was done" in caplog.text
    assert "the second time" in caplog.text


def test_a_task_that_fails_unawaited_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise ValueError("nobody awaits it")

    async def scenario() -> None:
        run_in_background(work(), "something was done")
        await asyncio.sleep(0.01)

    with caplog.at_level(logging.ERROR):
        asyncio.run(scenario())
    assert "an unexpected error while something was done" in caplog.text


def test_the_size_of_shared_memory_cannot_be_changed() -> None:
    arena = Arena.create(1 << 16)
    for size in (0, 1 << 20):
        with pytest.raises(PermissionError):
            os.ftruncate(arena.fd, size)
    with pytest.raises(OSError, match=os.strerror(errno.EPERM)):
        fcntl.fcntl(arena.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    arena.view[0] = 7
    os.close(arena.fd)
    arena.close()
