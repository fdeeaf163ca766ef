"""The served modules as one request may see them: to a key of one module, no other one exists."""

from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from hubserve.errors import ModuleNotFound
from hubserve.gateway.dataplane import DataPlane
from hubserve.gateway.served_model import ServedModule
from hubserve.telemetry.request_record import CURRENT
from hubserve.types import InferRequest, InferResponse


class Models(Protocol):
    """The served modules, all of them or some; see :class:`hubserve.gateway.dataplane.DataPlane`."""

    def get(self, name: str, version: str | None = None) -> ServedModule:
        """Return a served module."""

    def versions(self, name: str) -> list[ServedModule]:
        """Return every served version of a module, ascending; empty if it is not served."""

    def __iter__(self) -> Iterator[ServedModule]: ...

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer one request."""

    def stream(self, request: InferRequest) -> AsyncIterator[InferResponse]:
        """Answer one request by any number of responses."""

    async def loaded(self, name: str, version: str | None = None) -> ServedModule:
        """Return a served module once it is loaded."""


class VisibleModels:
    """The served modules that the key of the current request shows. Without a current request, they are all there.

    Args:
        models: all of them.
    """

    def __init__(self, models: DataPlane) -> None:
        self._models = models

    def get(self, name: str, version: str | None = None) -> ServedModule:
        """Return a served module.

        Raises:
            ModuleNotFound: it is not served, or is hidden from the request; the message is the same.
        """
        if _shows(name) and self._models.serves(name):
            return self._models.get(name, version)
        names = dict.fromkeys(module.plan.info.name for module in self)
        raise ModuleNotFound(f"module '{name}' is not served here; served are {', '.join(names) or 'none'}")

    def versions(self, name: str) -> list[ServedModule]:
        """Return every served version of a module, ascending; empty if it is not served, or hidden from the request."""
        return self._models.versions(name) if _shows(name) else []

    def __iter__(self) -> Iterator[ServedModule]:
        return iter([module for module in self._models if _shows(module.plan.info.name)])

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer one request."""
        self.get(request.module, request.version)
        return await self._models.infer(request)

    async def stream(self, request: InferRequest) -> AsyncIterator[InferResponse]:
        """Answer one request by any number of responses."""
        self.get(request.module, request.version)
        async for response in self._models.stream(request):
            yield response

    async def loaded(self, name: str, version: str | None = None) -> ServedModule:
        """Return a served module once it is loaded."""
        module = self.get(name, version)
        return module if module.is_loaded else await self._models.loaded(name, version)


def _shows(name: str) -> bool:
    record = CURRENT.get()
    return record is None or (record.access is not None and record.access.shows(name))
