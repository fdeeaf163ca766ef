"""Cleaning up that must be complete before the caller goes on."""

import asyncio

import pytest

from hubserve.gateway.background import finish


def test_what_is_cancelled_twice_while_it_cleans_up_has_cleaned_up_when_it_ends() -> None:
    async def run() -> None:
        go_on, done = asyncio.Event(), []

        async def work() -> None:
            await go_on.wait()
            done.append(True)

        cleaning = asyncio.create_task(finish(work(), "it was tried"))
        for _ in range(2):
            await asyncio.sleep(0)
            cleaning.cancel()
            await asyncio.wait({cleaning}, timeout=0.01)
            assert not cleaning.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await cleaning
        assert done

    asyncio.run(run())


def test_errors_of_the_work_are_raised() -> None:
    async def work() -> None:
        raise OSError("no descriptors")

    with pytest.raises(OSError, match="no descriptors"):
        asyncio.run(finish(work(), "it was tried"))
