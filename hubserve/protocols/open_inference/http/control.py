"""Serve the HTTP paths that control the server: model repository, shared memory, trace and logging settings.

All of them are part of the admin surface (:mod:`hubserve.protocols.admin`).
"""

from collections.abc import Awaitable, Callable
from typing import Any

from hubserve.errors import InvalidInput
from hubserve.module import decode_base64
from hubserve.protocols.documents import JsonBounds, json_type, parse_object
from hubserve.protocols.open_inference.core.inference import V2Inference
from hubserve.protocols.open_inference.http.decode import read_parameters

#: a model's configuration and files are a few texts, which may be large
_MOST_VALUES = 16 << 10
Answer = Callable[..., Awaitable[Any]]


def read_document(body: memoryview, bounds: JsonBounds) -> dict[str, Any]:
    """A request's JSON object; an empty body is an empty one.

    Raises:
        InvalidInput: it is not a JSON object, or holds far more values than any such request needs.
    """
    return parse_object(body, "the request", bounds._replace(values=min(bounds.values, _MOST_VALUES))) if len(body) else {}


async def _index(v2: V2Inference, document: dict[str, Any]) -> Any:
    ready = document.get("ready", False)
    if not isinstance(ready, bool):
        raise InvalidInput(f"'ready' must be true or false, got {json_type(ready)}")
    return v2.repository.index(ready_only=ready)


async def _load(v2: V2Inference, document: dict[str, Any], model: str) -> None:
    parameters = read_parameters(document, "the request")
    await v2.repository.load(model, {name: _content(name, value) for name, value in parameters.items()})


def _content(name: str, value: Any) -> Any:
    """A load parameter; files come as base64."""
    if not name.startswith("file:"):
        return value
    try:
        return decode_base64(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the parameter '{name[:200]}' must be base64 of the file: {error}") from None


async def _unload(v2: V2Inference, document: dict[str, Any], model: str) -> None:
    dependents = read_parameters(document, "the request").get("unload_dependents", False)
    if not isinstance(dependents, bool):
        raise InvalidInput(f"the parameter 'unload_dependents' must be true or false, got {json_type(dependents)}")
    await v2.repository.unload(model, dependents=dependents)


async def _memory_status(v2: V2Inference, document: dict[str, Any], region: str = "") -> Any:  # noqa: ARG001 - all are called alike
    return v2.shared_memory.status(region)


async def _memory_register(v2: V2Inference, document: dict[str, Any], region: str) -> None:
    for key in ("key", "byte_size"):
        if key not in document:
            raise InvalidInput(f"a shared memory region is registered by 'key', 'offset' and 'byte_size'; '{key}' is missing")
    v2.shared_memory.register(region, document["key"], document.get("offset", 0), document["byte_size"])


async def _memory_unregister(v2: V2Inference, document: dict[str, Any], region: str = "") -> None:  # noqa: ARG001
    v2.shared_memory.unregister(region)


async def _cuda_status(v2: V2Inference, document: dict[str, Any], region: str = "") -> Any:  # noqa: ARG001
    return v2.cuda_shared_memory.status(region)


async def _cuda_register(v2: V2Inference, document: dict[str, Any], region: str) -> None:  # noqa: ARG001
    v2.cuda_shared_memory.register(region)


async def _cuda_unregister(v2: V2Inference, document: dict[str, Any], region: str = "") -> None:  # noqa: ARG001
    v2.cuda_shared_memory.unregister(region)


async def _trace_settings(v2: V2Inference, document: dict[str, Any], model: str = "") -> Any:  # noqa: ARG001
    if model:
        v2.find(model)
    return v2.traces.settings(model)


async def _trace_update(v2: V2Inference, document: dict[str, Any], model: str = "") -> Any:
    if model:
        v2.find(model)
    return v2.traces.update(model, document)


async def _log_settings(v2: V2Inference, document: dict[str, Any]) -> Any:  # noqa: ARG001
    return v2.logs.settings()


async def _log_update(v2: V2Inference, document: dict[str, Any]) -> Any:
    return v2.logs.update(document)


#: what matches the path behind /v2/, the method, and what answers
ROUTES: tuple[tuple[str, str, Answer], ...] = (
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
