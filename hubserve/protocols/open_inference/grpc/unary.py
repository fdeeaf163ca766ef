"""Answer the unary calls of the gRPC service that do not compute."""

from collections.abc import Awaitable, Callable
from typing import Any

from tritonclient.grpc import service_pb2

from hubserve.access.keys import Need
from hubserve.errors import InvalidInput, ModuleNotFound
from hubserve.protocols.open_inference.core.service import OpenInference
from hubserve.protocols.open_inference.grpc.codec import message_from_json, parameter_value

#: calls that are part of the admin surface (:mod:`hubserve.protocols.admin`)
ADMIN_CALLS = {
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "TraceSetting",
    "LogSettings",
}
#: the other calls -> what they need a client's key to permit
NEEDS = {
    "ServerLive": Need.OPEN,
    "ServerReady": Need.OPEN,
    "ModelReady": Need.METADATA,
    "ServerMetadata": Need.METADATA,
    "ModelMetadata": Need.METADATA,
    "ModelConfig": Need.METADATA,
    "ModelStatistics": Need.METADATA,
}


class UnaryCalls:
    """Handlers of these calls: from request message to response message.

    Args:
        service: the protocol.
        has_admin: whether the clients' address has the admin surface.

    Attributes:
        table: name of a call -> its handler.
    """

    def __init__(self, service: OpenInference, *, has_admin: bool) -> None:
        self._service = service
        self._has_admin = has_admin
        self._catalog = service.catalog
        self.table: dict[str, Callable[[Any], Awaitable[Any]]] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
            "SystemSharedMemoryStatus": self._regions,
            "SystemSharedMemoryRegister": self._register,
            "SystemSharedMemoryUnregister": self._unregister,
            "CudaSharedMemoryStatus": self._cuda_regions,
            "CudaSharedMemoryRegister": self._register_cuda,
            "CudaSharedMemoryUnregister": self._unregister_cuda,
            "TraceSetting": self._trace,
            "LogSettings": self._logs,
        }
        if not has_admin:
            self.table = {name: call for name, call in self.table.items() if name not in ADMIN_CALLS}

    async def _live(self, _: Any) -> Any:
        return service_pb2.ServerLiveResponse(live=True)

    async def _ready(self, _: Any) -> Any:
        return service_pb2.ServerReadyResponse(ready=self._catalog.is_ready())

    async def _model_ready(self, request: Any) -> Any:
        try:
            ready = self._catalog.find(request.name, request.version).ready
        except ModuleNotFound:
            ready = False
        return service_pb2.ModelReadyResponse(ready=ready)

    async def _server_metadata(self, _: Any) -> Any:
        return message_from_json(service_pb2.ServerMetadataResponse(), self._catalog.server_metadata(has_admin=self._has_admin))

    async def _model_metadata(self, request: Any) -> Any:
        metadata = await self._catalog.model_metadata(request.name, request.version)
        return message_from_json(service_pb2.ModelMetadataResponse(), metadata)

    async def _model_config(self, request: Any) -> Any:
        config = await self._catalog.model_config(request.name, request.version)
        return message_from_json(service_pb2.ModelConfigResponse(), {"config": config})

    async def _statistics(self, request: Any) -> Any:
        statistics = self._catalog.statistics(request.name, request.version)
        return message_from_json(service_pb2.ModelStatisticsResponse(), statistics)

    async def _index(self, request: Any) -> Any:
        _require_no_repository(request)
        models = self._service.repository.index(ready_only=request.ready)
        return message_from_json(service_pb2.RepositoryIndexResponse(), {"models": models})

    async def _load(self, request: Any) -> Any:
        _require_no_repository(request)
        await self._service.repository.load(request.model_name, _values(request.parameters))
        return service_pb2.RepositoryModelLoadResponse()

    async def _unload(self, request: Any) -> Any:
        _require_no_repository(request)
        dependents = _values(request.parameters).get("unload_dependents", False)
        if not isinstance(dependents, bool):
            raise InvalidInput(f"the parameter 'unload_dependents' must be true or false, got {str(dependents)[:80]}")
        await self._service.repository.unload(request.model_name, dependents=dependents)
        return service_pb2.RepositoryModelUnloadResponse()

    async def _regions(self, request: Any) -> Any:
        regions = {each["name"]: each for each in self._service.shared_memory.status(request.name)}
        return message_from_json(service_pb2.SystemSharedMemoryStatusResponse(), {"regions": regions})

    async def _register(self, request: Any) -> Any:
        self._service.shared_memory.register(request.name, request.key, request.offset, request.byte_size)
        return service_pb2.SystemSharedMemoryRegisterResponse()

    async def _unregister(self, request: Any) -> Any:
        self._service.shared_memory.unregister(request.name)
        return service_pb2.SystemSharedMemoryUnregisterResponse()

    async def _cuda_regions(self, request: Any) -> Any:
        self._service.cuda_shared_memory.status(request.name)
        return service_pb2.CudaSharedMemoryStatusResponse()

    async def _register_cuda(self, request: Any) -> Any:
        self._service.cuda_shared_memory.register(request.name)
        return service_pb2.CudaSharedMemoryRegisterResponse()

    async def _unregister_cuda(self, request: Any) -> Any:
        self._service.cuda_shared_memory.unregister(request.name)
        return service_pb2.CudaSharedMemoryUnregisterResponse()

    async def _trace(self, request: Any) -> Any:
        changes = {name: _trace_value(name, list(each.value)) for name, each in request.settings.items()}
        tracer = self._service.tracer
        settings = tracer.update(request.model_name, changes) if changes else tracer.settings(request.model_name)
        response = service_pb2.TraceSettingResponse()
        for name, value in settings.items():
            response.settings[name].value.extend(value if isinstance(value, list) else [str(value)])
        return response

    async def _logs(self, request: Any) -> Any:
        changes = _values(request.settings)
        settings = self._service.logs.update(changes) if changes else self._service.logs.settings()
        response = service_pb2.LogSettingsResponse()
        for name, value in settings.items():
            field = "bool_param" if isinstance(value, bool) else "uint32_param" if isinstance(value, int) else "string_param"
            setattr(response.settings[name], field, value)
        return response


def _values(sent: Any) -> dict[str, Any]:
    return {name: parameter_value(name, each) for name, each in sent.items()}


def _trace_value(name: str, values: list[str]) -> Any:
    """Return a value as over HTTP: a list for the level, a text for other settings, None to reset one."""
    if not values:
        return None
    return values if name == "trace_level" or len(values) > 1 else values[0]


def _require_no_repository(request: Any) -> None:
    if request.repository_name:
        raise InvalidInput(
            f"there is no repository '{request.repository_name[:80]}': leave 'repository_name' empty for the one that this server has"
        )
