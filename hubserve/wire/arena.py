"""Memory that the gateway and one instance share, for buffers too large to push through a socket.

It is an anonymous file that the instance inherits, so it has no name that could be left behind, and goes when both have gone. Its size is
sealed: a module that cut it short would kill the gateway by SIGBUS at its next access. Only the gateway writes requests into its first
part. Frames are answered in their order, so that is used as a ring. Only the instance writes answers, into two halves in turn: when it
computes the answer to a frame, it has been given at most one more, so the gateway must have taken out the answer before the last.
"""

import fcntl
import mmap
import os
from collections import deque
from typing import Deque, List, Optional

#: smaller buffers travel through the socket: they cost no more there
MIN_BUFFER_BYTES = 32 << 10
#: pages are taken only when they are first used
REQUESTS_BYTES = 64 << 20
HALF_BYTES = 16 << 20
ARENA_BYTES = REQUESTS_BYTES + 2 * HALF_BYTES
#: frames that an instance may have been given and not answered; the two halves rest on it
MAX_IN_FLIGHT = 2
_ALIGNMENT = 64


class Arena:
    """The shared memory, mapped.

    Attributes:
        fd: the anonymous file.
        view: its bytes, writeable.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, os.fstat(fd).st_size)
        self.view = memoryview(self._map)

    @classmethod
    def create(cls, size_bytes: int = ARENA_BYTES) -> "Arena":
        """Make one; the descriptor is inheritable only where it is passed on purpose.

        Raises:
            OSError: no descriptors or no memory are available.
        """
        fd = os.memfd_create("hubserve-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, size_bytes)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            return cls(fd)
        except BaseException:
            os.close(fd)
            raise

    def put(self, parts: List[memoryview], offset: int) -> None:
        """Copy parts one behind the other."""
        for part in parts:
            self.view[offset : offset + len(part)] = part
            offset += len(part)

    def close(self) -> None:
        """Unmap it; the other side keeps its own mapping."""
        self.view.release()
        self._map.close()


class Halves:
    """The instance's places for its answers.

    Args:
        arena: what is shared.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._half = 0
        self._next = self._end = 0

    def turn(self) -> None:
        """Begin the next answer."""
        self._half = 1 - self._half
        self._next = REQUESTS_BYTES + self._half * HALF_BYTES
        self._end = self._next + HALF_BYTES

    def place(self, parts: List[memoryview], size: int) -> Optional[int]:
        """Copy a large buffer into the arena and return its offset; None if it is small, or there is no room."""
        if size < MIN_BUFFER_BYTES or self._next + size > self._end:
            return None
        offset = self._next
        self._arena.put(parts, offset)
        self._next = -(-(offset + size) // _ALIGNMENT) * _ALIGNMENT
        return offset


class Ring:
    """Places in an arena, given out in order and taken back in the same order.

    Args:
        size_bytes: of the arena.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._next = 0
        self._taken: Deque[int] = deque()  # where each place starts, oldest first

    def take(self, count_bytes: int) -> Optional[int]:
        """The offset of a free place; None if there is no room now."""
        if not self._taken:
            self._next = 0  # from the start again: the fewest pages are touched
        start = -(-self._next // _ALIGNMENT) * _ALIGNMENT
        if self._taken and start <= self._taken[0]:
            end = self._taken[0] - 1  # it has wrapped: full and empty must not look alike
        else:
            end = self._size_bytes
            if start + count_bytes > end and self._taken and count_bytes < self._taken[0]:
                start, end = 0, self._taken[0] - 1
        if start + count_bytes > end:
            return None
        self._next = start + count_bytes
        self._taken.append(start)
        return start

    def give_back(self, places: int) -> None:
        """Free the oldest places."""
        for _ in range(places):
            self._taken.popleft()
