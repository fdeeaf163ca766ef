"""Put the transport-independent protocol together for one server."""

from hubserve.protocols.arguments import ArgumentReader
from hubserve.protocols.base import Context
from hubserve.protocols.open_inference.core.catalog import ModelCatalog
from hubserve.protocols.open_inference.core.inference import Inference
from hubserve.protocols.open_inference.core.large_requests import LargeRequests
from hubserve.protocols.open_inference.core.log_settings import LogSettings
from hubserve.protocols.open_inference.core.model_access import OpenInferenceAccess
from hubserve.protocols.open_inference.core.repository import Repository
from hubserve.protocols.open_inference.core.shared_memory import CudaSharedMemory, SharedMemory
from hubserve.protocols.open_inference.core.tracing import Tracer


class OpenInference:
    """The protocol of one server; every transport gets the same object by ``context.shared(OpenInference)``.

    Args:
        context: state that the server's protocols share.

    Attributes:
        catalog: describes the served models.
        inference: answers inference requests.
        large_requests: decodes large requests off the event loop.
        repository: lists, loads and unloads models.
        shared_memory, cuda_shared_memory: regions that clients have registered.
        tracer: trace settings and sampling.
        logs: log settings.
    """

    def __init__(self, context: Context) -> None:
        dataplane, all_models, settings = context.dataplane, context.all_models, context.settings
        self.catalog = ModelCatalog(dataplane, all_models, settings)
        self.repository = Repository(dataplane, context.models)
        self.shared_memory = SharedMemory(settings)
        self.cuda_shared_memory = CudaSharedMemory()
        self.tracer = Tracer(settings, dataplane, context.telemetry.traces)
        self.logs = LogSettings()
        self.large_requests = LargeRequests(context.decoders, context.bounds)
        arguments = ArgumentReader(context.decoders, context.bounds)
        self.inference = Inference(self.catalog, self.shared_memory, self.tracer, arguments)
        all_models.provide_model_access(self._model_access(context, arguments))
        context.on_close.append(self.tracer.close)

    def _model_access(self, context: Context, arguments: ArgumentReader) -> OpenInferenceAccess:
        """Return the models as other models use them: whichever client a model computes for, it uses those that it is made of."""
        models = context.all_models
        if context.gate is None:
            return OpenInferenceAccess(models, self.catalog, self.inference, self.repository)
        catalog = ModelCatalog(models, models, context.settings)
        inference = Inference(catalog, self.shared_memory, self.tracer, arguments)
        return OpenInferenceAccess(models, catalog, inference, Repository(models, context.models))
