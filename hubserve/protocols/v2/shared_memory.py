"""Regions of shared memory that a client of this machine has registered."""

from typing import Any


class SharedMemory:
    """The registered regions, by name."""

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Map a region.

        Args:
            name: what requests call it.
            key: of the POSIX shared memory object, such as ``/input``.
            offset: where the region begins in it, in bytes.
            byte_size: of the region.
        Raises:
            HubError: there is none, it is too small, or the name is taken.
        """
        raise NotImplementedError

    def status(self, name: str = "") -> list[dict[str, Any]]:
        """``[{"name", "key", "offset", "byte_size"}, ...]`` of one region or all.

        Raises:
            NotHere: there is none of this name.
        """
        raise NotImplementedError

    def unregister(self, name: str = "") -> None:
        """Forget one region, or all; one that is not registered is no error."""
        raise NotImplementedError

    def view(self, name: str, offset: int, byte_size: int) -> memoryview:
        """A part of a region, writable; it stays valid while it is referred to.

        Raises:
            InvalidInput: there is no such region, or the part is not inside it.
        """
        raise NotImplementedError
