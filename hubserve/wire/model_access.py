"""The interface through which a module uses the other models of its server."""

from abc import ABC, abstractmethod
from typing import AsyncIterator, Mapping, Optional, Sequence

from hubserve.types import InferRequest, InferResponse


class ModelAccess(ABC):
    """The models of a server, as a module of the same server may use them."""

    @abstractmethod
    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer a request by exactly one response.

        Raises:
            HubError: the model is not served, is decoupled, or failed.
        """

    @abstractmethod
    def stream(self, request: InferRequest) -> AsyncIterator[InferResponse]:
        """Answer a request by any number of responses.

        Raises:
            HubError: as :meth:`infer`; also after some responses.
        """

    @abstractmethod
    def is_ready(self, name: str, version: Optional[str]) -> bool:
        """Return True if a model is served and ready; without a version, its default one."""

    @abstractmethod
    def bfloat16_outputs(self, name: str, version: Optional[str]) -> Sequence[str]:
        """Return the names of a model's bfloat16 outputs, which numpy arrays cannot show; empty if it is not served."""

    @abstractmethod
    async def load(self, name: str, config: str, files: Mapping[str, bytes]) -> None:
        """Load a model, or load it again.

        Args:
            name: of the model.
            config: the text of a JSON object that replaces its configuration; "" for its own.
            files: path in the model's folder to content, each path prefixed by ``file:``.
        Raises:
            HubError: it cannot be loaded, or this server loads no models on request.
        """

    @abstractmethod
    async def unload(self, name: str, dependents: bool) -> None:
        """Unload a model, and with ``dependents`` the models that only it uses.

        Raises:
            HubError: it is not served, or this server unloads no models on request.
        """
