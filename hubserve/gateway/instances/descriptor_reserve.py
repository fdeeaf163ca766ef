"""Reserve descriptors for starting instances: clients may use up all others."""

import contextlib
import errno
import os
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: for one instance: two socket pairs, its memory twice, the pipe of its output, pipes and the null device of its start, and the process
_RESERVED = 18


class Reserve:
    """Open descriptors that can be released for something more important.

    Args:
        count: how many.
    """

    def __init__(self, count: int = _RESERVED) -> None:
        self._count = count
        self._kept: list[int] = []

    def fill(self) -> None:
        """Reserve the full count, or as many as are available."""
        with contextlib.suppress(OSError):
            while len(self._kept) < self._count:
                self._kept.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def release(self) -> None:
        """Close all reserved descriptors."""
        while self._kept:
            os.close(self._kept.pop())

    def spend_on(self, work: Callable[[], T]) -> T:
        """Call something that opens descriptors; try again with the reserved ones if none are left.

        Raises:
            OSError: ``work`` failed.
        """
        try:
            return work()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._kept:
                raise
        self.release()
        try:
            return work()
        finally:
            self.fill()


#: descriptors belong to the process, and so does their reserve
RESERVE = Reserve()
