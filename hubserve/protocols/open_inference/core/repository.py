"""The model repository extension: list, load and unload models."""

from typing import Any

from hubserve.errors import HubError, InvalidInput, ModuleNotFound, Unavailable
from hubserve.gateway.dataplane import ServedModule
from hubserve.gateway.visible_models import Models
from hubserve.protocols.documents import JsonBounds, parse_json
from hubserve.protocols.model_control import LOADING, READY, UNAVAILABLE, ModelControl, ModelState, NotInRepository

_FILE = "file:"
#: limits of a model's configuration; the largest ensembles are within them
_CONFIG_BOUNDS = JsonBounds(depth=50, values=100_000)


class Repository:
    """Model repository, which clients can change as far as the server's ``model_control`` allows.

    Args:
        dataplane: the served modules.
        models: loads and unloads models; None if that is not possible.
    """

    def __init__(self, dataplane: Models, models: ModelControl | None = None) -> None:
        self._dataplane = dataplane
        self._models = models

    def index(self, *, ready_only: bool = False) -> list[dict[str, Any]]:
        """Return ``[{"name", "version", "state", "reason"}, ...]`` with the states of :mod:`hubserve.protocols.model_control`."""
        states = [_state(module) for module in self._dataplane] + (self._models.absent() if self._models else [])
        return [each._asdict() for each in states if each.state == READY or not ready_only]

    async def load(self, name: str, parameters: dict[str, Any]) -> None:
        """Load a model, or load it again.

        Args:
            name: of the model.
            parameters: ``config`` (the text of a JSON object) and ``file:<path in the model's folder>`` (bytes), each optional.
        Raises:
            Unavailable: the server's ``model_control`` is not ``explicit``.
            InvalidInput: it cannot be loaded; the message begins with ``failed to load``. The model served before stays served.
        """
        models = self._control()
        try:
            await models.load(name, *_overrides(parameters))
        except Unavailable:
            raise
        except HubError as error:
            failure = NotInRepository if isinstance(error, (NotInRepository, ModuleNotFound)) else InvalidInput
            raise failure(f"failed to load '{name[:200]}', {error.message}", error.detail) from None

    async def unload(self, name: str, *, dependents: bool = False) -> None:
        """Stop serving a model; with ``dependents`` also the steps of an ensemble of this name.

        Raises:
            Unavailable: the server's ``model_control`` is not ``explicit``.
            InvalidInput: there is no such model.
        """
        models = self._control()
        try:
            await models.unload(name, dependents)
        except Unavailable:
            raise
        except HubError as error:
            raise InvalidInput(f"failed to unload '{name[:200]}', {error.message}", error.detail) from None

    def _control(self) -> ModelControl:
        if self._models is None:
            raise Unavailable("explicit model load / unload is not allowed: this server cannot change what it serves")
        return self._models


def _state(module: ServedModule) -> ModelState:
    info = module.plan.info
    if module.ready:
        return ModelState(info.name, info.version, READY)
    if not module.load_error and not module.is_loaded:
        return ModelState(info.name, info.version, LOADING)
    return ModelState(info.name, info.version, UNAVAILABLE, module.not_ready_reason)


def _overrides(parameters: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, bytes]]:
    """Return the configuration and the files that a client sent."""
    unknown = [name for name in parameters if name != "config" and not name.startswith(_FILE)]
    if unknown:
        raise InvalidInput(f"the load parameter '{str(unknown[0])[:80]}' is not known; there are 'config' and '{_FILE}<path>'")
    files = {name[len(_FILE) :]: content for name, content in parameters.items() if name != "config"}
    if not all(isinstance(content, bytes) for content in files.values()):
        raise InvalidInput(f"each parameter '{_FILE}<path>' must have bytes as its value")
    if files and "config" not in parameters:
        raise InvalidInput("files were sent without 'config'; they are a whole model folder, so send its configuration with them")
    return _config(parameters["config"]) if "config" in parameters else None, files


def _config(text: Any) -> dict[str, Any]:
    if not isinstance(text, str):
        raise InvalidInput(f"the parameter 'config' must be the text of a JSON object, got {type(text).__name__}")
    config = parse_json(text.encode("utf-8", "surrogatepass"), "the parameter 'config'", _CONFIG_BOUNDS)
    if not isinstance(config, dict):
        raise InvalidInput(f"the parameter 'config' must be a JSON object, got {text[:40]!r}")
    return config
