"""Regions of shared memory that a client of this machine has registered.

They are read and written by system calls and never mapped: a client may cut its file short at any moment, and touching a page of a mapping
that is behind its end would kill the whole server. A copy of 602 KB takes about 40 us.
"""

import errno
import os
import stat
from typing import Any

import numpy as np

from hubserve.errors import InvalidInput, TooLarge, Unavailable
from hubserve.protocols.open_inference.core.errors import NotHere, NotOffered
from hubserve.settings import ServerSettings

#: where the C library's shm_open keeps them
_FOLDER = b"/dev/shm/"
#: each keeps a file open, of which a process may not have many
_MOST_REGIONS = 512
_LONGEST_KEY = 255
_HIGHEST = 2**63 - 1


class SharedMemory:
    """The registered regions, by name.

    Args:
        settings: the server's; whether there is shared memory at all, and how much of it may be read for one input.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._is_on = settings.shared_memory
        self._most_bytes = settings.max_body_bytes
        self._regions: dict[str, _Region] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Open a region.

        Args:
            name: what requests call it.
            key: of the POSIX shared memory object, such as ``/input``.
            offset: where the region begins in it, in bytes.
            byte_size: of the region.
        Raises:
            NotOffered: the server has no shared memory.
            InvalidInput: there is no such object, it is too small, or the name is taken.
            Unavailable: there are too many regions.
        """
        self._require()
        if not isinstance(name, str) or not name:
            raise InvalidInput("a shared memory region needs a name: text that is not empty")
        if name in self._regions:
            raise InvalidInput(f"shared memory region '{_short(name)}' already in manager; unregister it first, or choose another name")
        if len(self._regions) >= _MOST_REGIONS:
            raise Unavailable(f"the server has {_MOST_REGIONS} shared memory regions, which is the most; unregister some")
        first, size = _whole("offset", offset, 0), _whole("byte_size", byte_size, 1)
        self._regions[name] = _Region(name, key, first, size)

    def status(self, name: str = "") -> list[dict[str, Any]]:
        """``[{"name", "key", "offset", "byte_size"}, ...]`` of one region or all.

        Raises:
            NotHere: there is none of this name.
        """
        if not name:
            return [region.status() for region in self._regions.values()]
        if name not in self._regions:
            raise NotHere(f"Unable to find system shared memory region: '{_short(name)}'; register it first")
        return [self._regions[name].status()]

    def unregister(self, name: str = "") -> None:
        """Forget one region, or all; one that is not registered is no error. Requests that use it already finish with it."""
        if name:
            self._regions.pop(name, None)
        else:
            self._regions.clear()

    def part(self, name: str, offset: int, byte_size: int) -> "Part":
        """A part of a region, for a request's input or output. It can be used until it is let go, also once its region is unregistered.

        Args:
            name: of the region.
            offset: of the part in the region, in bytes.
            byte_size: of the part.
        Raises:
            NotOffered: the server has no shared memory.
            InvalidInput: there is no such region, or the part is not inside it.
        """
        self._require()
        region = self._regions.get(name) if isinstance(name, str) else None
        if region is None:
            raise InvalidInput(f"Unable to find shared memory region: '{_short(name)}'; register it first")
        first, size = _whole("shared_memory_offset", offset, 0), _whole("shared_memory_byte_size", byte_size, 0)
        if first + size > region.byte_size:
            raise InvalidInput(
                f"Invalid offset + byte size for shared memory region: '{_short(name)}' has {region.byte_size} bytes, "
                f"and {size} from offset {first} on are not all inside it"
            )
        return Part(region, first, size, self._most_bytes)

    def _require(self) -> None:
        if not self._is_on:
            raise NotOffered(
                "shared memory is off on this server. Send the tensors in the request, or start the server with --shared-memory, "
                "or 'shared_memory': true in its configuration"
            )


class CudaSharedMemory:
    """What this server says to those who offer it memory of a GPU: the gateway computes on none."""

    def register(self, name: str) -> None:
        """Refuse.

        Raises:
            NotOffered: always.
        """
        raise NotOffered(
            f"failed to register CUDA shared memory region: '{_short(name)}', GPUs not supported; "
            "use system shared memory, or send the tensors in the request"
        )

    def status(self, name: str = "") -> list[dict[str, Any]]:
        """No regions.

        Raises:
            NotHere: there is none of this name.
        """
        if name:
            raise NotHere(f"Unable to find cuda shared memory region: '{_short(name)}'; this server has none")
        return []

    def unregister(self, name: str = "") -> None:
        """Nothing: one that is not registered is no error."""


class Part:
    """A part of a region.

    Attributes:
        byte_size: how many bytes it has.
    """

    __slots__ = ("_most_bytes", "_offset", "_region", "byte_size")

    def __init__(self, region: "_Region", offset: int, byte_size: int, most_bytes: int) -> None:
        self._region = region
        self._offset = region.offset + offset
        self.byte_size = byte_size
        self._most_bytes = most_bytes

    def read(self) -> memoryview:
        """A copy of what it holds now.

        Raises:
            InvalidInput: the client has cut its file short.
            TooLarge: it is longer than ``max_body_bytes``.
        """
        if self.byte_size > self._most_bytes:
            raise TooLarge(
                f"an input of {self.byte_size} bytes in shared memory is over this server's limit of {self._most_bytes} bytes; "
                "send fewer items at once or raise 'max_body_bytes'"
            )
        content = np.empty(self.byte_size, np.uint8).data
        done = 0
        while done < self.byte_size:
            count = os.preadv(self._region.descriptor, [content[done:]], self._offset + done)
            if not count:
                raise self._region.cut_short()
            done += count
        return content

    def write(self, data: Any) -> None:
        """Put something at its beginning.

        Args:
            data: bytes-like and contiguous; no longer than the part.
        Raises:
            InvalidInput: it is longer, the client has cut its file short, or the machine has no memory for the page.
        """
        content = memoryview(data).cast("B") if memoryview(data).nbytes else memoryview(b"")
        if content.nbytes > self.byte_size:
            raise InvalidInput(
                f"the output has {content.nbytes} bytes, and its part of shared memory region '{self._region.name}' only "
                f"{self.byte_size}; register a larger one"
            )
        if self._region.size_now() < self._offset + content.nbytes:  # writing would make the client's file longer
            raise self._region.cut_short()
        done = 0
        while done < content.nbytes:
            try:
                done += os.pwrite(self._region.descriptor, content[done:], self._offset + done)
            except OSError as error:
                raise InvalidInput(f"cannot write to shared memory region '{self._region.name}': {error.strerror}") from None


class _Region:
    """An open file; it is closed when nothing refers to the region any more."""

    def __init__(self, name: str, key: str, offset: int, byte_size: int) -> None:
        self.name, self.key, self.offset, self.byte_size = name, key, offset, byte_size
        self.descriptor = _open(key)
        if offset + byte_size > self.size_now():
            raise InvalidInput(
                f"failed to register shared memory region '{_short(name)}': '{key}' has {self.size_now()} bytes, "
                f"and {byte_size} from offset {offset} on were to be registered"
            )

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def status(self) -> dict[str, Any]:
        return {"name": self.name, "key": self.key, "offset": self.offset, "byte_size": self.byte_size}

    def size_now(self) -> int:
        return os.fstat(self.descriptor).st_size

    def cut_short(self) -> InvalidInput:
        return InvalidInput(
            f"shared memory region '{_short(self.name)}' has been cut short since it was registered: '{self.key}' has {self.size_now()} "
            "bytes now. Register it again, and leave its size alone while it is registered"
        )


def _open(key: str) -> int:
    """A descriptor of a POSIX shared memory object.

    Raises:
        InvalidInput: there is none of this key, or it is something else.
    """
    base = key.lstrip("/").encode("utf-8", "surrogatepass") if isinstance(key, str) else b""
    if base in (b"", b".", b"..") or b"/" in base or b"\0" in base or len(base) > _LONGEST_KEY:
        raise InvalidInput(
            f"'{_short(key)}' is no key of a POSIX shared memory object; one is a name without '/' inside it, such as '/input'"
        )
    try:
        # no links out of the folder, and no waiting for the other end of a pipe
        descriptor = os.open(_FOLDER + base, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        reason = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise InvalidInput(f"Unable to open shared memory region: '{_short(key)}' ({reason}). Create it before it is registered") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidInput(f"Unable to open shared memory region: '{_short(key)}' is no shared memory object")
    return descriptor


def _whole(what: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _HIGHEST:
        raise InvalidInput(f"'{what}' must be a whole number of bytes from {least} up, got {_short(str(value))}")
    return value


def _short(text: Any) -> str:
    return str(text)[:_LONGEST_KEY]
