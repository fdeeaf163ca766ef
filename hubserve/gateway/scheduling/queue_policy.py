"""What may wait in a module's queue, for how long, and what becomes of a request that has waited too long."""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: a request that has waited too long is refused
REJECT = "reject"
#: it waits on, behind everything of its priority that has not waited too long
DELAY = "delay"


@dataclass(frozen=True)
class QueuePolicy:
    """How requests of one priority wait.

    Attributes:
        max_queue_size: how many may wait; 0 for no bound but the module's.
        timeout_s: how long one may wait; 0 for no bound.
        timeout_action: :data:`REJECT` or :data:`DELAY`.
        allow_timeout_override: whether a request may ask for a shorter time than ``timeout_s``.
    """

    max_queue_size: int = 0
    timeout_s: float = 0.0
    timeout_action: str = REJECT
    allow_timeout_override: bool = False

    def wait_s(self, asked_s: float) -> float:
        """How long a request may wait; 0 for no bound.

        Args:
            asked_s: what the request itself asks for; 0 for nothing.
        """
        if not (self.allow_timeout_override and asked_s > 0):
            return self.timeout_s
        return min(asked_s, self.timeout_s) if self.timeout_s else asked_s


@dataclass(frozen=True)
class QueuePolicies:
    """How requests of each priority wait.

    Attributes:
        levels: how many priorities there are: 1, which is computed first, to ``levels``; 0 for any number, lower ones first.
        default_level: of requests that name none of them.
        default: the policy of all levels that have none of their own.
        by_level: the others.
    """

    levels: int = 0
    default_level: int = 0
    default: QueuePolicy = field(default_factory=QueuePolicy)
    by_level: Mapping[int, QueuePolicy] = field(default_factory=dict)

    def level_of(self, priority: int) -> int:
        """The level of a request that asks for a priority."""
        if not self.levels:
            return priority
        return priority if 1 <= priority <= self.levels else self.default_level

    def of(self, level: int) -> QueuePolicy:
        """The policy of a level."""
        return self.by_level.get(level, self.default)

    @property
    def bound(self) -> bool:
        """Whether any of them bounds anything."""
        return any(each.max_queue_size or each.timeout_s or each.allow_timeout_override for each in (self.default, *self.by_level.values()))
