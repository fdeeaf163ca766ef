"""Descriptors that are kept for starting instances: clients may use up all others."""

import contextlib
import errno
import os
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: of an instance: two socket pairs, its memory twice, pipes and the null device of its start, and the process itself
_KEPT = 16


class Reserve:
    """Open descriptors that can be given up for something more important.

    Args:
        count: how many.
    """

    def __init__(self, count: int = _KEPT) -> None:
        self._count = count
        self._kept: list[int] = []

    def fill(self) -> None:
        """Keep as many as there should be, or as can be had now."""
        with contextlib.suppress(OSError):
            while len(self._kept) < self._count:
                self._kept.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def release(self) -> None:
        """Close all that are kept."""
        while self._kept:
            os.close(self._kept.pop())

    def spend_on(self, work: Callable[[], T]) -> T:
        """Do something that opens descriptors; try again with the reserved ones if none are left.

        Raises:
            OSError: what ``work`` raises.
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


#: descriptors belong to the process, so its reserve does too
RESERVE = Reserve()
