"""Handle the HTTP paths that control the server: model repository, shared memory, trace and log settings.

All of them are part of the admin surface (:mod:`hubserve.protocols.admin`).
"""

from collections.abc import Awaitable, Callable
from typing import Any

from hubserve.errors import InvalidInput
from hubserve.module import decode_base64
from hubserve.protocols.documents import JsonBounds, json_type, parse_object
from hubserve.protocols.open_inference.core.service import OpenInference
from hubserve.protocols.open_inference.http.decode import read_parameters

#: a model's configuration and files are a few texts, which may be large
_MAX_VALUES = 16 << 10
#: returns the response's JSON, or None for an empty body
Handler = Callable[..., Awaitable[Any]]


def read_document(body: memoryview, bounds: JsonBounds) -> dict[str, Any]:
    """Return a request's JSON object; an empty body counts as an empty object.

    Raises:
        InvalidInput: it is not a JSON object, or holds far more values than any such request needs.
    """
    return parse_object(body, "the request", bounds._replace(values=min(bounds.values, _MAX_VALUES))) if len(body) else {}


async def _index(service: OpenInference, document: dict[str, Any]) -> Any:
    ready = document.get("ready", False)
    if not isinstance(ready, bool):
        raise InvalidInput(f"'ready' must be true or false, got {json_type(ready)}")
    return service.repository.index(ready_only=ready)


async def _load(service: OpenInference, document: dict[str, Any], model: str) -> None:
    parameters = read_parameters(document, "the request")
    await service.repository.load(model, {name: _content(name, value) for name, value in parameters.items()})


def _content(name: str, value: Any) -> Any:
    """Return the value of a load parameter; files are sent as base64."""
    if not name.startswith("file:"):
        return value
    try:
        return decode_base64(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the parameter '{name[:200]}' must be base64 of the file: {error}") from None


async def _unload(service: OpenInference, document: dict[str, Any], model: str) -> None:
    dependents = read_parameters(document, "the request").get("unload_dependents", False)
    if not isinstance(dependents, bool):
        raise InvalidInput(f"the parameter 'unload_dependents' must be true or false, got {json_type(dependents)}")
    await service.repository.unload(model, dependents=dependents)


async def _memory_status(service: OpenInference, document: dict[str, Any], region: str = "") -> Any:  # noqa: ARG001 - all handlers are called alike
    return service.shared_memory.status(region)


async def _memory_register(service: OpenInference, document: dict[str, Any], region: str) -> None:
    for key in ("key", "byte_size"):
        if key not in document:
            raise InvalidInput(f"a shared memory region is registered by 'key', 'offset' and 'byte_size'; '{key}' is missing")
    service.shared_memory.register(region, document["key"], document.get("offset", 0), document["byte_size"])


async def _memory_unregister(service: OpenInference, document: dict[str, Any], region: str = "") -> None:  # noqa: ARG001
    service.shared_memory.unregister(region)


async def _cuda_status(service: OpenInference, document: dict[str, Any], region: str = "") -> Any:  # noqa: ARG001
    return service.cuda_shared_memory.status(region)


async def _cuda_register(service: OpenInference, document: dict[str, Any], region: str) -> None:  # noqa: ARG001
    service.cuda_shared_memory.register(region)


async def _cuda_unregister(service: OpenInference, document: dict[str, Any], region: str = "") -> None:  # noqa: ARG001
    service.cuda_shared_memory.unregister(region)


async def _trace_settings(service: OpenInference, document: dict[str, Any], model: str = "") -> Any:  # noqa: ARG001
    if model:
        service.catalog.find(model)
    return service.tracer.settings(model)


async def _trace_update(service: OpenInference, document: dict[str, Any], model: str = "") -> Any:
    if model:
        service.catalog.find(model)
    return service.tracer.update(model, document)


async def _log_settings(service: OpenInference, document: dict[str, Any]) -> Any:  # noqa: ARG001
    return service.logs.settings()


async def _log_update(service: OpenInference, document: dict[str, Any]) -> Any:
    return service.logs.update(document)


#: pattern of the path behind /v2/, method, handler
ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("repository/index", "POST", _index),
    ("repository/models/(?P<model>[^/]+)/load", "POST", _load),
    ("repository/models/(?P<model>[^/]+)/unload", "POST", _unload),
    ("systemsharedmemory(?:/region/(?P<region>[^/]+))?/status", "GET", _memory_status),
    ("systemsharedmemory/region/(?P<region>[^/]+)/register", "POST", _memory_register),
    ("systemsharedmemory(?:/region/(?P<region>[^/]+))?/unregister", "POST", _memory_unregister),
    ("cudasharedmemory(?:/region/(?P<region>[^/]+))?/status", "GET", _cuda_status),
    ("cudasharedmemory/region/(?P<region>[^/]+)/register", "POST", _cuda_register),
    ("cudasharedmemory(?:/region/(?P<region>[^/]+))?/unregister", "POST", _cuda_unregister),
    ("(?:models/(?P<model>[^/]+)/)?trace/setting", "GET", _trace_settings),
    ("(?:models/(?P<model>[^/]+)/)?trace/setting", "POST", _trace_update),
    ("logging", "GET", _log_settings),
    ("logging", "POST", _log_update),
)
