"""The protocol's model repository: what could be served, and loading and unloading it by name."""

from typing import Any


class Repository:
    """Loads and unloads models as the server's ``model_control`` allows."""

    def index(self, *, ready_only: bool = False) -> list[dict[str, Any]]:
        """``[{"name", "version", "state", "reason"}, ...]``; ``state`` is ``READY``, ``LOADING``, ``UNLOADING`` or ``UNAVAILABLE``."""
        raise NotImplementedError

    async def load(self, name: str, parameters: dict[str, Any]) -> None:
        """Load a model, or load it again.

        Args:
            name: of the model.
            parameters: ``config`` (the text of a JSON object) and ``file:<path in the model's folder>`` (bytes), each optional.
        Raises:
            HubError: see :mod:`hubserve.protocols.v2.errors`.
        """
        raise NotImplementedError

    async def unload(self, name: str, *, dependents: bool = False) -> None:
        """Stop to serve a model, and with ``dependents`` those that an ensemble of this name is made of.

        Raises:
            HubError: see :mod:`hubserve.protocols.v2.errors`.
        """
        raise NotImplementedError
