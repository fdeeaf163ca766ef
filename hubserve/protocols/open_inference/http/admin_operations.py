"""Describe the protocol's paths of the admin surface for ``/openapi.json``."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from hubserve.access.keys import Need
from hubserve.protocols.open_inference.http.operation_parts import ADMIN_TAG, NAME, a_list, an_object, errors
from hubserve.protocols.openapi.document import JSON, Document, answer, operation, with_examples
from hubserve.settings import ServerSettings

_ERRORS = (400, 403, 404, 503)
_ANY = {"type": "object", "additionalProperties": True}
_NUMBER = {"type": "integer", "format": "int64", "minimum": 0}
_PATHS = {"model": "The model's name.", "region": "The region's name."}


class _Path(NamedTuple):
    """One path and method; ``result`` and ``body`` are schemas, None for an empty body."""

    method: str
    path: str
    id: str
    summary: str
    result: dict[str, Any] | None
    body: dict[str, Any] | None = None
    example: Any = None


def describe_admin(document: Document, settings: ServerSettings) -> None:
    """Add the operations of the admin surface that these settings have switched on."""
    document.tag(ADMIN_TAG, "The Open Inference Protocol (v2): models, shared memory, traces and logs of the server.")
    models = [each.name for each in document.modules if "/" not in each.name]
    paths = [*_repository(settings), *_settings(), *(_memory() if settings.shared_memory else ())]
    for each in paths:
        names = [name for name in _PATHS if f"{{{name}}}" in each.path]
        if "model" in names and not models:
            continue
        examples = {"model": models[-1] if models else "", "region": "example"}
        parameters = [
            {"name": name, "in": "path", "required": True, "description": _PATHS[name], "schema": NAME, "example": examples[name]}
            for name in names
        ]
        content = None if each.body is None else {JSON: with_examples(each.body, {"example": (each.summary, each.example)})}
        responses = {"200": answer("It is done.", each.result), **errors(document, *_ERRORS)}
        made = operation(
            f"v2_{each.id}", each.summary, ADMIN_TAG, responses, parameters=parameters, content=content, needs_body=each.example != {}
        )
        document.add(each.method, each.path, made, Need.ADMIN)


def _repository(settings: ServerSettings) -> Iterator[_Path]:
    entry = an_object(name=NAME, version=NAME, state=NAME, reason=NAME)
    wanted = {"type": "object", "properties": {"ready": {"type": "boolean", "description": "Only those that are ready."}}}
    yield _Path("post", "/v2/repository/index", "repository_index", "List the models", a_list(entry), wanted, {"ready": True})
    if settings.model_control != "explicit":
        return
    config = {"type": "string", "description": "JSON text of a configuration that replaces the model's own."}
    files = {"description": "file:PATH: base64 of a file of the model's folder.", "type": "string"}
    parameters = {"type": "object", "properties": {"config": config}, "additionalProperties": files}
    load = {"type": "object", "properties": {"parameters": parameters}}
    yield _Path("post", "/v2/repository/models/{model}/load", "load_model", "Load a model, or load it again", None, load, {})
    flag = {"type": "boolean", "description": "Also the models of its steps that no other model uses."}
    unload = {"type": "object", "properties": {"parameters": {"type": "object", "properties": {"unload_dependents": flag}}}}
    yield _Path("post", "/v2/repository/models/{model}/unload", "unload_model", "Stop serving a model", None, unload, {})


def _settings() -> Iterator[_Path]:
    for prefix, suffix, whose in (("", "", "the server"), ("models/{model}/", "_of_model", "a model")):
        path = f"/v2/{prefix}trace/setting"
        yield _Path("get", path, f"trace_settings{suffix}", f"Trace settings of {whose}", _ANY)
        change = f"Change trace settings of {whose}"
        yield _Path("post", path, f"change_trace_settings{suffix}", change, _ANY, _ANY, {"trace_rate": "1000"})
    yield _Path("get", "/v2/logging", "log_settings", "Log settings", _ANY)
    yield _Path("post", "/v2/logging", "change_log_settings", "Change log settings", _ANY, _ANY, {"log_verbose_level": 0})


def _memory() -> Iterator[_Path]:
    base, region = "/v2/systemsharedmemory", an_object(name=NAME, key=NAME, offset=_NUMBER, byte_size=_NUMBER)
    register = an_object(key={**NAME, "description": "Of the POSIX shared memory object, such as /input."}, byte_size=_NUMBER)
    register["properties"]["offset"] = _NUMBER
    path = base + "/region/{region}"
    example = {"key": "/example", "offset": 0, "byte_size": 64}
    yield _Path("post", path + "/register", "register_memory", "Register a region of shared memory", None, register, example)
    yield _Path("get", path + "/status", "memory_region_status", "State of a region of shared memory", a_list(region))
    yield _Path("get", base + "/status", "memory_status", "Registered regions of shared memory", a_list(region))
    yield _Path("post", path + "/unregister", "unregister_memory", "Forget a region of shared memory", None)
    yield _Path("post", base + "/unregister", "unregister_all_memory", "Forget all regions of shared memory", None)
    cuda = "/v2/cudasharedmemory/status"
    yield _Path("get", cuda, "cuda_memory_status", "Registered regions of CUDA shared memory: none", a_list(region))
