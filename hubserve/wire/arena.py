"""Memory that the gateway and one instance share, for buffers too large to push through a socket.

The arena is an anonymous file that the instance inherits: it has no name that could be left behind, and is freed when both processes have
ended. Its size is sealed, because a module that truncated it would kill the gateway by SIGBUS at the next access.

The gateway alone writes the first part, with requests. Frames are answered in order, so that part is a ring buffer. The instance alone
writes the rest, two response buffers that it uses in turn: while it computes the answer to a frame it has at most one more frame, so the
gateway has already copied the answer before the last.
"""

import fcntl
import mmap
import os
from collections import deque
from typing import Deque, List, Optional

#: smaller buffers travel through the socket, which costs no more
MIN_BUFFER_BYTES = 32 << 10
#: pages are allocated at their first use only
REQUESTS_BYTES = 64 << 20
RESPONSE_BUFFER_BYTES = 16 << 20
ARENA_BYTES = REQUESTS_BYTES + 2 * RESPONSE_BUFFER_BYTES
#: frames that an instance may have at once; two response buffers suffice because of this limit
MAX_IN_FLIGHT = 2
_ALIGNMENT = 64


class Arena:
    """Shared memory, mapped into this process.

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
        """Create an arena whose descriptor is inherited only where it is passed explicitly.

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

    def write(self, parts: List[memoryview], offset: int) -> None:
        """Copy parts to an offset, one after the other."""
        for part in parts:
            self.view[offset : offset + len(part)] = part
            offset += len(part)

    def close(self) -> None:
        """Unmap the memory; the peer keeps its own mapping."""
        self.view.release()
        self._map.close()


class ResponseBuffers:
    """The two response buffers of an instance, used in turn.

    Args:
        arena: the shared memory.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._current = 0
        self._next = self._end = 0

    def begin_response(self) -> None:
        """Switch to the other buffer for the next response."""
        self._current = 1 - self._current
        self._next = REQUESTS_BYTES + self._current * RESPONSE_BUFFER_BYTES
        self._end = self._next + RESPONSE_BUFFER_BYTES

    def store(self, parts: List[memoryview], size: int) -> Optional[int]:
        """Copy a large buffer into the arena and return its offset; None if it is small or does not fit."""
        if size < MIN_BUFFER_BYTES or self._next + size > self._end:
            return None
        offset = self._next
        self._arena.write(parts, offset)
        self._next = -(-(offset + size) // _ALIGNMENT) * _ALIGNMENT
        return offset


class RingAllocator:
    """Allocator of a ring buffer: blocks are freed in the order in which they were allocated.

    Args:
        size_bytes: of the ring buffer.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._next = 0
        self._starts: Deque[int] = deque()  # of each allocated block, oldest first

    def allocate(self, count_bytes: int) -> Optional[int]:
        """Return the offset of a free block; None if there is no room now."""
        if not self._starts:
            self._next = 0  # reuse the first pages, so that the fewest are touched
        start = -(-self._next // _ALIGNMENT) * _ALIGNMENT
        if self._starts and start <= self._starts[0]:
            end = self._starts[0] - 1  # wrapped; full and empty must not look alike
        else:
            end = self._size_bytes
            if start + count_bytes > end and self._starts and count_bytes < self._starts[0]:
                start, end = 0, self._starts[0] - 1
        if start + count_bytes > end:
            return None
        self._next = start + count_bytes
        self._starts.append(start)
        return start

    def free(self, count: int) -> None:
        """Free the oldest ``count`` blocks."""
        for _ in range(count):
            self._starts.popleft()
