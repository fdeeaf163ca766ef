"""Describe the server and its models: readiness, metadata, configuration, signatures and statistics."""

from typing import Any
from weakref import WeakKeyDictionary

from hubserve import __version__
from hubserve.errors import LoadFailed, ModuleNotFound
from hubserve.gateway.dataplane import DataPlane, ServedModule
from hubserve.gateway.ensembles.plan import EnsembleStep
from hubserve.gateway.statistics import Execution, Responses, Tally
from hubserve.gateway.visible_models import Models
from hubserve.protocols.open_inference.core.signatures import Signature
from hubserve.settings import ServerSettings

_EXTENSIONS = (
    "classification",
    "sequence",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "system_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
)
#: those that belong to the admin surface
_OF_ADMIN = ("model_repository", "model_repository(unload_dependents)", "system_shared_memory", "trace", "logging")


class ModelCatalog:
    """The served models in the protocol's terms. Dicts are in the JSON form of the protocol over HTTP.

    Args:
        dataplane: the served modules that the current request may use.
        all_models: all served modules: readiness is that of all, and the steps of an ensemble are parts of it.
        settings: the server's.
    """

    def __init__(self, dataplane: Models, all_models: DataPlane, settings: ServerSettings) -> None:
        self._dataplane = dataplane
        self._all_models = all_models
        self._server_name = settings.v2_server_name
        self._signatures: WeakKeyDictionary[ServedModule, Signature] = WeakKeyDictionary()

    def is_ready(self) -> bool:
        """Return True if every model can answer."""
        return all(module.ready for module in self._all_models)

    def find(self, name: str, version: str = "") -> ServedModule:
        """Return a served module.

        Args:
            name: of the model.
            version: "" for the default.
        Raises:
            ModuleNotFound: it is not served, or not in that version.
        """
        try:
            return self._dataplane.get(name, version or None)
        except ModuleNotFound as error:
            which = f"'{name[:200]}' version {version[:40]} is not found" if version else f"'{name[:200]}' is not found"
            served = [module.plan.info.version for module in self._dataplane.versions(name)] if version else []
            why = error.message[:1000]
            if served and not version.isdigit() and all(map(str.isdigit, served)):  # clients of Triton look for this text
                why = (
                    f"failed to get model version from specified version string '{version[:40]}': a version is a whole number from 1 up, "
                    f"and {', '.join(served)} is served"
                )
            raise ModuleNotFound(f"Request for unknown model: {which}: {why}") from None

    def cached_signature(self, module: ServedModule) -> Signature | None:
        """Return a module's signature if :meth:`signature` has returned it before, else None."""
        return self._signatures.get(module)

    async def signature(self, name: str, version: str = "") -> Signature:
        """Return a model's inputs and outputs, once it, or a module that replaces it meanwhile, is loaded.

        Raises:
            ModuleNotFound: it is not served.
            LoadFailed: it could not be loaded.
        """
        module = self.find(name, version)
        signature = self.cached_signature(module)
        if signature is None:
            try:
                module = await self._dataplane.loaded(name, version or None)
            except LoadFailed as error:
                raise LoadFailed(f"failed to load '{name}', {error.message}", error.detail) from None
            signature = self.signature_of(module)
        return signature

    def signature_of(self, module: ServedModule) -> Signature:
        """Return the inputs and outputs of a loaded module."""
        signature = self.cached_signature(module)
        if signature is None:
            signature = self._signatures[module] = Signature(module, self._step_labels)
        return signature

    def _step_labels(self, step: EnsembleStep, output: str) -> list[str]:
        module = self._all_models.get(step.model, step.version or None)
        return self.signature_of(module).labels(output) if module.is_loaded else []

    def server_metadata(self, *, has_admin: bool) -> dict[str, Any]:
        """Return ``{"name", "version", "extensions"}``.

        Args:
            has_admin: whether the client's address has the admin surface.
        """
        extensions = [each for each in _EXTENSIONS if has_admin or each not in _OF_ADMIN]
        return {"name": self._server_name, "version": __version__, "extensions": extensions}

    async def model_metadata(self, name: str, version: str = "") -> dict[str, Any]:
        """Return ``{"name", "versions", "platform", "inputs", "outputs"}``, once the model is loaded.

        Raises:
            ModuleNotFound: it is not served.
            LoadFailed: it could not be loaded.
        """
        signature = await self.signature(name, version)
        versions = [module.plan.info.version for module in self._dataplane if module.plan.info.name == name]
        return signature.metadata(versions or [signature.version])

    async def model_config(self, name: str, version: str = "") -> dict[str, Any]:
        """Return the model's configuration, the JSON form of ``inference.ModelConfig``, once the model is loaded.

        Raises:
            ModuleNotFound: it is not served.
            LoadFailed: it could not be loaded.
        """
        return (await self.signature(name, version)).config()

    def statistics(self, name: str = "", version: str = "") -> dict[str, Any]:
        """Return ``{"model_stats": [...]}`` of one model, or of all that are loaded.

        Raises:
            ModuleNotFound: it is not served.
        """
        modules = [self.find(name, version)] if name else [module for module in self._dataplane if module.is_loaded]
        return {"model_stats": [_model_statistics(module) for module in modules]}


def _model_statistics(module: ServedModule) -> dict[str, Any]:
    """Return one element of ``model_stats``."""
    counted = module.statistics
    return {
        "name": module.plan.info.name,
        "version": module.plan.info.version,
        "last_inference": counted.last_inference_ms,
        "inference_count": counted.inference_count,
        "execution_count": counted.execution_count,
        "inference_stats": {
            "success": _duration(counted.success),
            "fail": _duration(counted.fail),
            "queue": _duration(counted.queue),
            **_execution(counted.computed),
            "cache_hit": _duration(counted.cache_hit),
            "cache_miss": _duration(counted.cache_miss),
        },
        "response_stats": {str(position): _responses(each) for position, each in sorted(counted.responses.items())},
        "batch_stats": [{"batch_size": items, **_execution(each)} for items, each in counted.by_batch_size()],
        "memory_usage": [],
    }


def _duration(tally: Tally) -> dict[str, int]:
    return {"count": tally.count, "ns": tally.ns}


def _execution(execution: Execution) -> dict[str, Any]:
    return {
        "compute_input": _duration(execution.compute_input),
        "compute_infer": _duration(execution.compute_infer),
        "compute_output": _duration(execution.compute_output),
    }


def _responses(responses: Responses) -> dict[str, Any]:
    return {
        "compute_infer": _duration(responses.compute_infer),
        "compute_output": _duration(responses.compute_output),
        "success": _duration(responses.success),
        "fail": _duration(responses.fail),
        "empty_response": _duration(responses.empty),
        "cancel": _duration(responses.cancel),
    }
