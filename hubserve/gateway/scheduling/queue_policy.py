"""Limits on how many requests wait in a module's queue and for how long, by priority."""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: a request that has waited too long is refused
REJECT = "reject"
#: it keeps waiting, behind all requests of its priority that have not waited too long
DELAY = "delay"


@dataclass(frozen=True)
class QueuePolicy:
    """Policy of the queue for requests of one priority.

    Attributes:
        max_queue_size: how many may wait; 0 for the module's limit alone.
        timeout_s: how long one may wait; 0 for no limit.
        timeout_action: :data:`REJECT` or :data:`DELAY`.
        allow_timeout_override: whether a request may ask for a shorter time than ``timeout_s``.
    """

    max_queue_size: int = 0
    timeout_s: float = 0.0
    timeout_action: str = REJECT
    allow_timeout_override: bool = False

    def wait_s(self, asked_s: float) -> float:
        """Return how long a request may wait; 0 for no limit.

        Args:
            asked_s: how long the request itself asks to wait; 0 if it does not ask.
        """
        if not (self.allow_timeout_override and asked_s > 0):
            return self.timeout_s
        return min(asked_s, self.timeout_s) if self.timeout_s else asked_s


@dataclass(frozen=True)
class QueuePolicies:
    """Policies of the queue, by priority.

    Attributes:
        levels: number of priorities: 1, which is computed first, to ``levels``; 0 for any integer, lower ones first.
        default_level: of requests whose priority is not one of these.
        default: the policy of all levels not in ``by_level``.
        by_level: the policies of single levels.
    """

    levels: int = 0
    default_level: int = 0
    default: QueuePolicy = field(default_factory=QueuePolicy)
    by_level: Mapping[int, QueuePolicy] = field(default_factory=dict)

    def level_of(self, priority: int) -> int:
        """Return the level of a request that asks for a priority."""
        if not self.levels:
            return priority
        return priority if 1 <= priority <= self.levels else self.default_level

    def of(self, level: int) -> QueuePolicy:
        """Return the policy of a level."""
        return self.by_level.get(level, self.default)

    @property
    def has_limits(self) -> bool:
        """True if any level has a limit."""
        return any(each.max_queue_size or each.timeout_s or each.allow_timeout_override for each in (self.default, *self.by_level.values()))
