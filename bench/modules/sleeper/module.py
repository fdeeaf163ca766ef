"""Sleeps for a fixed time in each call; calls are never merged."""

import time

from hubserve.module import moduleinfo, serving


@moduleinfo(name="sleeper", version="1.0.0", summary="Sleeps, then doubles a number")
class Sleeper:
    """Module that takes a configured time for each call."""

    def __init__(self, delay_ms=5.0):
        self.delay_ms = delay_ms

    @serving
    def double(self, number):
        """Return the double of a number."""
        time.sleep(self.delay_ms / 1000)
        return number * 2
