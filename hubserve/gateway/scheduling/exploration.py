"""Try batch sizes whose latency is not known well enough, within a budget of computing time."""

from hubserve.gateway.scheduling.batch_plan import GAIN

#: share of the computing time that may be spent on sizes that turn out to gain nothing
_BUDGET_SHARE = 0.01


class Exploration:
    """The sizes to try, and the computing time that the last try has to pay back.

    Attributes:
        promising: sizes with few samples that may change the plan, the most promising first.
        stale: sizes that were not computed for long.
    """

    def __init__(self) -> None:
        self.promising: list[int] = []
        self.stale: list[int] = []
        self._tried = 0  # the size of the last try
        self._debt_s = 0.0

    @property
    def in_debt(self) -> bool:
        """Whether the last try is not paid back yet."""
        return self._debt_s > 0

    def observe(self, items: int, seconds: float, best_each_s: float) -> None:
        """Pay back the last try by the budget that a call earns; a try that gained costs nothing.

        Args:
            items: the number of items of the call.
            seconds: how long it took.
            best_each_s: the shortest known time per item.
        """
        if self._debt_s > 0:
            gains = items == self._tried and seconds * (1 + GAIN) <= items * best_each_s
            self._debt_s = 0.0 if gains else self._debt_s - _BUDGET_SHARE * seconds

    def begin(self, items: int, seconds: float) -> None:
        """Record that a size is tried that is expected to take ``seconds``."""
        self._tried, self._debt_s = items, seconds

    def pop_candidate(self, waiting: int, size: int) -> int:
        """Remove and return a size to try instead of ``size``, of at most ``waiting`` items; 0 if there is none."""
        for sizes, most in ((self.promising, waiting), (self.stale, min(waiting, 2 * size))):
            found = next((each for each in sizes if each <= most and each != size), 0)
            if found:
                sizes.remove(found)
                return found
        return 0
