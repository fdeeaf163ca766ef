"""How long things take."""

import time


class Timer:
    """Counts steps, and tells how many there are in a second and how long the rest will take."""

    def __init__(self, total_step: int) -> None:
        self.total_step = total_step
        self.current_step = 0
        self._last_step = 0
        self._running = True

    def start(self) -> None:
        """Start the clock."""
        self.start_time = self.last_time = time.time()

    def stop(self) -> None:
        """Stop it."""
        self._running = False
        self.end_time = time.time()

    def count(self) -> int:
        """One more step; returns how many were taken."""
        self.current_step = min(self.current_step + 1, self.total_step)
        return self.current_step

    @property
    def timing(self) -> float:
        """Steps a second since this was last asked."""
        steps, now = self.current_step - self._last_step, time.time()
        self._last_step, elapsed_s = self.current_step, now - self.last_time
        self.last_time = now
        return steps / elapsed_s if elapsed_s else 0.0

    @property
    def is_running(self) -> bool:
        """Whether it was not stopped."""
        return self._running

    @property
    def eta(self) -> str:
        """The time that is left, ``hh:mm:ss``."""
        if not self._running or not self.current_step:
            return "00:00:00"
        return seconds_to_hms((time.time() - self.start_time) * (self.total_step / self.current_step))


def seconds_to_hms(seconds: float) -> str:
    """``3725`` -> ``01:02:05``."""
    whole = int(seconds)
    return f"{whole // 3600:0>2}:{whole // 60 % 60:0>2}:{whole % 60:0>2}"
