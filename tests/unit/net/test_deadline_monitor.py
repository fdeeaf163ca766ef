import asyncio
import time

import pytest

from hubserve.net.deadline_monitor import DeadlineMonitor


class Item:
    def __init__(self, due: float, failure: Exception | None = None) -> None:
        self.due = due
        self.calls = 0
        self._failure = failure

    def on_timeout(self) -> None:
        self.calls += 1
        self.due = 0.0
        if self._failure:
            raise self._failure


def test_timeouts_are_handled_although_another_handler_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def look() -> list[Item]:
        deadlines, soon = DeadlineMonitor(0.01), time.monotonic() + 0.02
        items = [Item(soon, ValueError("it cannot be ended")), Item(soon), Item(soon + 0.1), Item(0.0)]
        for item in items:
            deadlines.add(item)
        for _ in range(500):
            if items[2].calls:
                break
            await asyncio.sleep(0.01)
        for item in items:
            deadlines.discard(item)
        return items

    assert [item.calls for item in asyncio.run(look())] == [1, 1, 1, 0]
    assert "it cannot be ended" in caplog.text
