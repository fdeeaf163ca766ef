"""Open POSIX shared memory objects, and read and write sections of them.

They are accessed by system calls and never mapped: a client may truncate its file at any moment, and touching a page of a mapping behind
the file's end would kill the whole server. A copy of 602 KB takes about 40 us.
"""

import errno
import os
import stat
from typing import Any

import numpy as np

from hubserve.errors import InvalidInput, TooLarge

#: the C library's shm_open keeps its objects here
_FOLDER = b"/dev/shm/"
_MAX_KEY_BYTES = 255
_MAX_SHOWN = 255


class Region:
    """A registered region; its file is closed once nothing refers to the region any more.

    Args:
        name: given by requests.
        key: of the POSIX shared memory object, such as ``/input``.
        offset: start of the region in the object, in bytes.
        byte_size: of the region.
    Raises:
        InvalidInput: there is no such object, or the region is not inside it.
    """

    def __init__(self, name: str, key: str, offset: int, byte_size: int) -> None:
        self.name, self.key, self.offset, self.byte_size = name, key, offset, byte_size
        self.descriptor = _open(key)
        if offset + byte_size > self.file_size():
            raise InvalidInput(
                f"failed to register shared memory region '{shorten(name)}': '{key}' has {self.file_size()} bytes, "
                f"fewer than {byte_size} from offset {offset}"
            )

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def status(self) -> dict[str, Any]:
        """Return ``{"name", "key", "offset", "byte_size"}``."""
        return {"name": self.name, "key": self.key, "offset": self.offset, "byte_size": self.byte_size}

    def file_size(self) -> int:
        """Return the current size of the object in bytes."""
        return os.fstat(self.descriptor).st_size

    def truncated(self) -> InvalidInput:
        """Return the error for a region whose file has become too short."""
        return InvalidInput(
            f"shared memory region '{shorten(self.name)}' has been cut short since it was registered: '{self.key}' has "
            f"{self.file_size()} bytes now. Register it again, and leave its size alone while it is registered"
        )


class Section:
    """A section of a region, for one input or output; usable also after its region was unregistered.

    Args:
        region: registered by the client.
        offset: start of the section in the region, in bytes.
        byte_size: of the section.
        max_bytes: limit of one read.

    Attributes:
        byte_size: of the section.
    """

    __slots__ = ("_max_bytes", "_offset", "_region", "byte_size")

    def __init__(self, region: Region, offset: int, byte_size: int, max_bytes: int) -> None:
        self._region = region
        self._offset = region.offset + offset
        self.byte_size = byte_size
        self._max_bytes = max_bytes

    def read(self) -> memoryview:
        """Return a copy of the current content.

        Raises:
            InvalidInput: the client has truncated its file.
            TooLarge: the section is longer than ``max_body_bytes``.
        """
        if self.byte_size > self._max_bytes:
            raise TooLarge(
                f"an input of {self.byte_size} bytes in shared memory is over this server's limit of {self._max_bytes} bytes; "
                "send fewer items at once or raise 'max_body_bytes'"
            )
        content = np.empty(self.byte_size, np.uint8).data
        done = 0
        while done < self.byte_size:
            count = os.preadv(self._region.descriptor, [content[done:]], self._offset + done)
            if not count:
                raise self._region.truncated()
            done += count
        return content

    def write(self, data: Any) -> None:
        """Write data at the start of the section.

        Args:
            data: bytes-like and contiguous; no longer than the section.
        Raises:
            InvalidInput: it is longer, the client has truncated its file, or the machine has no memory for the page.
        """
        content = memoryview(data).cast("B") if memoryview(data).nbytes else memoryview(b"")
        if content.nbytes > self.byte_size:
            raise InvalidInput(
                f"the output has {content.nbytes} bytes, and its part of shared memory region '{self._region.name}' only "
                f"{self.byte_size}; register a larger one"
            )
        if self._region.file_size() < self._offset + content.nbytes:  # writing would extend the client's file
            raise self._region.truncated()
        done = 0
        while done < content.nbytes:
            try:
                done += os.pwrite(self._region.descriptor, content[done:], self._offset + done)
            except OSError as error:
                raise InvalidInput(f"cannot write to shared memory region '{self._region.name}': {error.strerror}") from None


def _open(key: str) -> int:
    """Return a descriptor of a POSIX shared memory object.

    Raises:
        InvalidInput: no shared memory object has this key.
    """
    base = key.lstrip("/").encode("utf-8", "surrogatepass") if isinstance(key, str) else b""
    if base in (b"", b".", b"..") or b"/" in base or b"\0" in base or len(base) > _MAX_KEY_BYTES:
        raise InvalidInput(
            f"'{shorten(key)}' is not a key of a POSIX shared memory object; use a name without '/' inside it, such as '/input'"
        )
    try:
        # follow no links out of the folder, and do not wait for the other end of a pipe
        descriptor = os.open(_FOLDER + base, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        reason = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise InvalidInput(f"Unable to open shared memory region: '{shorten(key)}' ({reason}). Create it before it is registered") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidInput(f"Unable to open shared memory region: '{shorten(key)}' is not a shared memory object")
    return descriptor


def shorten(value: Any) -> str:
    """Return the beginning of a client's text, for messages."""
    return str(value)[:_MAX_SHOWN]
