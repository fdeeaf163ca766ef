"""What the protocol says, whatever carries it: HTTP and gRPC translate to and from this."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext
from typing import Any, cast
from weakref import WeakKeyDictionary

from hubserve import __version__
from hubserve.errors import InvalidInput, LoadFailed, ModuleNotFound
from hubserve.gateway.dataplane import DataPlane, ServedModule
from hubserve.gateway.ensembles.plan import EnsembleStep
from hubserve.protocols.arguments import ArgumentReader
from hubserve.protocols.decoders import Decoders
from hubserve.protocols.documents import JsonBounds
from hubserve.protocols.open_inference.core.decode import RequestMaker
from hubserve.protocols.open_inference.core.encode import ResultMaker
from hubserve.protocols.open_inference.core.errors import NotOffered
from hubserve.protocols.open_inference.core.large_requests import CallReader
from hubserve.protocols.open_inference.core.log_settings import Logs
from hubserve.protocols.open_inference.core.repository import ModelControl, Repository
from hubserve.protocols.open_inference.core.shared_memory import CudaSharedMemory, SharedMemory
from hubserve.protocols.open_inference.core.signatures import ARGUMENTS, Signature
from hubserve.protocols.open_inference.core.statistics import model_statistics
from hubserve.protocols.open_inference.core.tracing import Traces
from hubserve.protocols.open_inference.core.types import InferCall, InferResult, InputTensor, OutputTensor, RequestedOutput
from hubserve.settings import ServerSettings
from hubserve.types import InferRequest, InferResponse

__all__ = ["InferCall", "InferResult", "InputTensor", "OutputTensor", "RequestedOutput", "V2Inference"]

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
_ADMITTED = nullcontext()


class V2Inference:
    """The protocol over the data plane. Every answer that is a dict is the JSON of the protocol's HTTP form.

    Args:
        dataplane: the served modules.
        settings: the server's.
        models: loads and unloads models; None where nobody can.
        decoders: decode large requests; creates its own if None.

    Attributes:
        repository: what could be served.
        shared_memory, cuda_shared_memory: regions that clients have registered.
        traces, logs: their settings.
        reader: reads requests, off the event loop if they are large.
    """

    def __init__(
        self, dataplane: DataPlane, settings: ServerSettings, models: ModelControl | None = None, decoders: Decoders | None = None
    ) -> None:
        self.dataplane = dataplane
        self.settings = settings
        self.repository = Repository(dataplane, models)
        self.shared_memory = SharedMemory(settings)
        self.cuda_shared_memory = CudaSharedMemory()
        self.traces = Traces(settings, dataplane)
        self.logs = Logs()
        decoders, bounds = decoders or Decoders(), JsonBounds.of(settings)
        self.reader = CallReader(decoders, bounds)
        self._arguments = ArgumentReader(decoders, bounds)
        self._signatures: WeakKeyDictionary[ServedModule, Signature] = WeakKeyDictionary()

    def live(self) -> bool:
        """Whether the server answers at all."""
        return True

    def ready(self) -> bool:
        """Whether every module can answer."""
        return all(module.ready for module in self.dataplane)

    def model_ready(self, name: str, version: str = "") -> bool:
        """Whether a model can answer.

        Raises:
            ModuleNotFound: it is not served.
        """
        return self.find(name, version).ready

    def find(self, name: str, version: str = "") -> ServedModule:
        """A served module.

        Args:
            name: of the model.
            version: "" for the default.
        Raises:
            ModuleNotFound: it is not served, or not in that version.
        """
        try:
            return self.dataplane.get(name, version or None)
        except ModuleNotFound as error:
            which = f"'{name[:200]}' version {version[:40]} is not found" if version else f"'{name[:200]}' is not found"
            served = [module.plan.info.version for module in self.dataplane.versions(name)] if version else []
            why = error.message[:1000]
            if served and not version.isdigit() and all(map(str.isdigit, served)):  # clients of Triton look for this text
                why = (
                    f"failed to get model version from specified version string '{version[:40]}': a version is a whole number from 1 up, "
                    f"and {', '.join(served)} is served"
                )
            raise ModuleNotFound(f"Request for unknown model: {which}: {why}") from None

    def known_signature(self, module: ServedModule) -> Signature | None:
        """What :meth:`signature` gave for a module; None before the first time."""
        return self._signatures.get(module)

    async def signature(self, name: str, version: str = "") -> Signature:
        """Return a module's inputs and outputs; waits until it, or another one that replaces it meanwhile, is loaded.

        Raises:
            ModuleNotFound: it is not served.
            LoadFailed: it could not be loaded.
        """
        module = self.find(name, version)
        found = self.known_signature(module)
        if found is None:
            try:
                module = await self.dataplane.loaded(name, version or None)
            except LoadFailed as error:
                raise LoadFailed(f"failed to load '{name}', {error.message}", error.detail) from None
            found = self._signature_of(module)
        return found

    def _signature_of(self, module: ServedModule) -> Signature:
        found = self.known_signature(module)
        if found is None:
            found = self._signatures[module] = Signature(module, self._step_labels)
        return found

    def _step_labels(self, step: EnsembleStep, output: str) -> list[str]:
        module = self.find(step.model, step.version or "")
        return self._signature_of(module).labels(output) if module.is_loaded else []

    def server_metadata(self) -> dict[str, Any]:
        """``{"name", "version", "extensions"}``."""
        return {"name": self.settings.v2_server_name, "version": __version__, "extensions": list(_EXTENSIONS)}

    async def model_metadata(self, name: str, version: str = "") -> dict[str, Any]:
        """``{"name", "versions", "platform", "inputs", "outputs"}``; waits until the model is loaded.

        Raises:
            ModuleNotFound: it is not served.
            LoadFailed: it could not be loaded.
        """
        signature = await self.signature(name, version)
        versions = [module.plan.info.version for module in self.dataplane if module.plan.info.name == name]
        return signature.metadata(versions or [signature.version])

    async def model_config(self, name: str, version: str = "") -> dict[str, Any]:
        """The model's configuration, as the JSON form of ``inference.ModelConfig``; waits until the model is loaded.

        Raises:
            ModuleNotFound: it is not served.
            LoadFailed: it could not be loaded.
        """
        return (await self.signature(name, version)).config()

    def statistics(self, name: str = "", version: str = "") -> dict[str, Any]:
        """``{"model_stats": [...]}`` of one model or all.

        Raises:
            ModuleNotFound: it is not served.
        """
        modules = [self.find(name, version)] if name else [module for module in self.dataplane if module.is_loaded]
        return {"model_stats": [model_statistics(module) for module in modules]}

    def _memory_for(self, call: InferCall) -> SharedMemory:
        """Return the regions that a request may use: those of clients on this machine must not be used by clients elsewhere.

        Raises:
            Forbidden: it may not use any, and asks for one.
        """
        if call.check_memory and call.shares_memory:
            call.check_memory()
        return self.shared_memory

    async def infer(self, call: InferCall, signature: Signature | None = None) -> InferResult:
        """Answer one request.

        Args:
            call: the request.
            signature: of its model, if the caller has admitted the request there; see :meth:`ServedModule.admit`.
        Raises:
            NotOffered: the model is decoupled; see :meth:`stream`.
            HubError: see :mod:`hubserve.protocols.open_inference.core.errors` for what each is called.
        """
        admission = _ADMITTED if signature else None
        signature = signature or await self.signature(call.model, call.version)
        module = signature.module
        with admission or module.admit(), self.traces.sample(call.model, module.plan.info.version, call.id) as marks:
            if module.description.decoupled:
                raise NotOffered(
                    f"'{call.model}' may answer one request by any number of responses, and a plain request doesn't support models "
                    "with decoupled transaction policy; use generate_stream over HTTP, or ModelStreamInfer over gRPC"
                )
            memory = self._memory_for(call)
            results = ResultMaker(signature, call, memory)
            request = RequestMaker(signature, memory).make(call)
            if request.arguments is not None:
                await self._read_arguments(request, signature)
            request.marks = marks
            return results.make(await module.infer(request))

    async def stream(self, call: InferCall, signature: Signature | None = None) -> AsyncGenerator[InferResult]:
        """Answer one request by as many results as its model gives; one that is not decoupled gives exactly one.

        Args:
            call: the request.
            signature: as :meth:`infer` takes it.
        Raises:
            HubError: as :meth:`infer`; also after some results.
        """
        admission = _ADMITTED if signature else None
        signature = signature or await self.signature(call.model, call.version)
        module = signature.module
        with admission or module.admit(), self.traces.sample(call.model, module.plan.info.version, call.id) as marks:
            memory = self._memory_for(call)
            results = ResultMaker(signature, call, memory)
            request = RequestMaker(signature, memory).make(call)
            if request.arguments is not None:
                await self._read_arguments(request, signature)
            request.marks = marks
            # a client that stops asking for more ends the computing, too
            async with aclosing(cast("AsyncGenerator[InferResponse]", module.stream(request))) as responses:
                async for response in responses:
                    yield results.make(response)

    async def _read_arguments(self, request: InferRequest, signature: Signature) -> None:
        what = f"input '{ARGUMENTS.name}'"
        arguments = await self._arguments.read(request.arguments, what, signature.module.plan.predict_args)
        if arguments.found:
            raise InvalidInput(f"{what} must be a JSON object, got {arguments.found}{signature.usage}")
        request.arguments = arguments.text
