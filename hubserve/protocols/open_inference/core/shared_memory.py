"""Registry of the shared memory regions that clients on this machine offer for inputs and outputs."""

from typing import Any, NoReturn

from hubserve.errors import InvalidInput, Unavailable
from hubserve.protocols.open_inference.core.errors import NoSuchResource, NotSupported
from hubserve.protocols.open_inference.core.shared_memory_region import Region, Section, shorten
from hubserve.settings import ServerSettings

#: each region keeps a file open, and a process may have only a limited number of them
_MAX_REGIONS = 512
_MAX_INT64 = 2**63 - 1


class SharedMemory:
    """Registered system shared memory regions, by name.

    Args:
        settings: the server's; says if shared memory is on, and the most bytes of one input.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._is_on = settings.shared_memory
        self._max_bytes = settings.max_body_bytes
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Open a region.

        Args:
            name: given by requests that use it.
            key: of the POSIX shared memory object, such as ``/input``.
            offset: start of the region in the object, in bytes.
            byte_size: of the region.
        Raises:
            NotSupported: shared memory is off.
            InvalidInput: there is no such object, it is too small, or the name is in use.
            Unavailable: there are too many regions.
        """
        self._require()
        if not isinstance(name, str) or not name:
            raise InvalidInput("a shared memory region needs a name: text that is not empty")
        if name in self._regions:
            raise InvalidInput(f"shared memory region '{shorten(name)}' already in manager; unregister it first, or choose another name")
        if len(self._regions) >= _MAX_REGIONS:
            raise Unavailable(f"the server has {_MAX_REGIONS} shared memory regions, which is its limit; unregister some")
        start, size = _bytes_number("offset", offset, 0), _bytes_number("byte_size", byte_size, 1)
        self._regions[name] = Region(name, key, start, size)

    def status(self, name: str = "") -> list[dict[str, Any]]:
        """Return ``[{"name", "key", "offset", "byte_size"}, ...]`` of one region or all.

        Raises:
            NoSuchResource: no region has this name.
        """
        if not name:
            return [region.status() for region in self._regions.values()]
        if name not in self._regions:
            raise NoSuchResource(f"Unable to find system shared memory region: '{shorten(name)}'; register it first")
        return [self._regions[name].status()]

    def unregister(self, name: str = "") -> None:
        """Remove one region, or all; an unknown name is ignored. Requests that already use a region can finish with it."""
        if name:
            self._regions.pop(name, None)
        else:
            self._regions.clear()

    def section(self, name: str, offset: int, byte_size: int) -> Section:
        """Return a section of a region, for a request's input or output.

        Args:
            name: of the region.
            offset: start of the section in the region, in bytes.
            byte_size: of the section.
        Raises:
            NotSupported: shared memory is off.
            InvalidInput: there is no such region, or the section is not inside it.
        """
        self._require()
        region = self._regions.get(name) if isinstance(name, str) else None
        if region is None:
            raise InvalidInput(f"Unable to find shared memory region: '{shorten(name)}'; register it first")
        start, size = _bytes_number("shared_memory_offset", offset, 0), _bytes_number("shared_memory_byte_size", byte_size, 0)
        if start + size > region.byte_size:
            raise InvalidInput(
                f"Invalid offset + byte size for shared memory region: '{shorten(name)}' has {region.byte_size} bytes, "
                f"and {size} from offset {start} on are not all inside it"
            )
        return Section(region, start, size, self._max_bytes)

    def _require(self) -> None:
        if not self._is_on:
            refuse_shared_memory()


def refuse_shared_memory() -> NoReturn:
    """Raise NotSupported, also where there is shared memory and an address does not show it."""
    raise NotSupported(
        "shared memory is off on this server. Send the tensors in the request, or start the server with --shared-memory, "
        "or 'shared_memory': true in its configuration"
    )


class CudaSharedMemory:
    """Registry of GPU memory regions, always empty: the gateway does not use a GPU."""

    def register(self, name: str) -> None:
        """Refuse the region.

        Raises:
            NotSupported: always.
        """
        raise NotSupported(
            f"failed to register CUDA shared memory region: '{shorten(name)}', GPUs not supported; "
            "use system shared memory, or send the tensors in the request"
        )

    def status(self, name: str = "") -> list[dict[str, Any]]:
        """Return an empty list.

        Raises:
            NoSuchResource: a name was given.
        """
        if name:
            raise NoSuchResource(f"Unable to find cuda shared memory region: '{shorten(name)}'; this server has none")
        return []

    def unregister(self, name: str = "") -> None:
        """Do nothing: an unknown name is ignored."""


def _bytes_number(what: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MAX_INT64:
        raise InvalidInput(f"'{what}' must be a whole number of bytes from {least} up, got {shorten(str(value))}")
    return value
