"""Timing of steps."""

import time


class Timer:
    """Timer that counts steps, and computes their rate and the remaining time."""

    def __init__(self, total_step: int) -> None:
        self.total_step = total_step
        self.current_step = 0
        self._last_step = 0
        self._running = True

    def start(self) -> None:
        """Start the clock."""
        self.start_time = self.last_time = time.time()

    def stop(self) -> None:
        """Stop the clock."""
        self._running = False
        self.end_time = time.time()

    def count(self) -> int:
        """Count one more step, and return their number."""
        self.current_step = min(self.current_step + 1, self.total_step)
        return self.current_step

    @property
    def timing(self) -> float:
        """Steps per second since the last use of this property."""
        steps, now = self.current_step - self._last_step, time.time()
        self._last_step, elapsed_s = self.current_step, now - self.last_time
        self.last_time = now
        return steps / elapsed_s if elapsed_s else 0.0

    @property
    def is_running(self) -> bool:
        """True until it is stopped."""
        return self._running

    @property
    def eta(self) -> str:
        """Remaining time, ``hh:mm:ss``."""
        if not self._running or not self.current_step:
            return "00:00:00"
        return seconds_to_hms((time.time() - self.start_time) * (self.total_step / self.current_step))


def seconds_to_hms(seconds: float) -> str:
    """Return seconds as ``hh:mm:ss``, such as ``01:02:05`` for 3725."""
    total = int(seconds)
    return f"{total // 3600:0>2}:{total // 60 % 60:0>2}:{total % 60:0>2}"
