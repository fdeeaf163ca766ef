"""Interface to load and unload models while the server runs; the server implements it, protocols call it."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from hubserve.errors import InvalidInput

READY, LOADING, UNLOADING, UNAVAILABLE = "READY", "LOADING", "UNLOADING", "UNAVAILABLE"


class ModelState(NamedTuple):
    """One model, or one version of it.

    Attributes:
        name: the served name.
        version: "" if unknown.
        state: one of READY, LOADING, UNLOADING and UNAVAILABLE.
        reason: why it is unavailable.
    """

    name: str
    version: str
    state: str
    reason: str = ""


class NotInRepository(InvalidInput):
    """The repository has no such model, or cannot hold it; gRPC clients of Triton look for this text and status."""

    code = "not_polled"


class ModelControl(Protocol):
    """Control over the models of a running server."""

    def absent(self) -> list[ModelState]:
        """Return the models that are not served now, but could be, are about to be, or have been."""

    async def load(self, name: str, config: Mapping[str, Any] | None, files: Mapping[str, bytes]) -> None:
        """Load a model, or load it again in place of the one served by that name.

        Args:
            name: of the model.
            config: replaces the model's own configuration; its numbers may be texts.
            files: path in the model's folder -> content; if not empty, they are the complete folder.
        Raises:
            Unavailable: clients may not load models on this server.
            NotInRepository: no model store contains the model, or its files do not fit one.
            HubError: it cannot be loaded; the model served before stays served.
        """

    async def unload(self, name: str, dependents: bool) -> None:
        """Stop serving a model; with ``dependents`` also its ensemble steps that no other model uses.

        Raises:
            Unavailable: clients may not unload models on this server.
            HubError: there is no such model.
        """
