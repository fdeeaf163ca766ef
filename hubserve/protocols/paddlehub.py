"""PaddleHub Serving's protocol: ``POST /predict/<module>``, answered by ``{"status", "msg", "results"}``.

A JSON body's keys are the arguments of the module's serving method, as in PaddleHub. Beyond PaddleHub, modules that can take them
also get ``image/*`` bodies, ``multipart/form-data`` with one or more files, and ``application/octet-stream`` arrays that are
described by the headers ``X-Hub-Shape: 1,3,224,224`` and ``X-Hub-Dtype: float32``. The answer is the same, and so are the batches.
"""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import orjson
import pybase64
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from hubserve.errors import (
    DeadlineExceeded,
    HubError,
    InstanceDied,
    InvalidInput,
    LoadFailed,
    ModuleNotFound,
    Overloaded,
    TooLarge,
    Unavailable,
)
from hubserve.kinds.base import Face
from hubserve.module import JsonArray, check_about, decode_base64
from hubserve.protocols.admission import Ticket
from hubserve.protocols.base import ClientGone, Protocol, deadline_of, header, priority_of, respond, while_connected
from hubserve.protocols.bodies import TooSlow, read_body
from hubserve.protocols.large_text import split_large_text
from hubserve.serving.dataplane import MAX_PICTURES, ServedModule
from hubserve.types import InferRequest, array_from_bytes, parse_shape

log = logging.getLogger("hubserve")

_PREFIX = "/predict/"

#: error -> (HTTP status, PaddleHub status); the first class that fits counts
_STATUSES: tuple[tuple[type[HubError], int, str], ...] = (
    (TooLarge, 413, "101"),
    (TooSlow, 408, "101"),
    (ModuleNotFound, 200, "111"),
    (LoadFailed, 200, "111"),
    (Overloaded, 429, "101"),
    (Unavailable, 503, "101"),
    (DeadlineExceeded, 504, "101"),
    (InstanceDied, 500, "101"),
    (HubError, 200, "101"),
)


class _NotJson(Exception):
    """The body is not what its content type says: PaddleHub answers such requests with HTTP 400."""


class _OldUsage(Exception):
    """The content type is one that PaddleHub took in its first versions only."""


class PaddleHubProtocol(Protocol):
    """See the module's text."""

    prefixes = (_PREFIX,)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - bodies are read from the exchange
        """Answer one request."""
        name = unquote(scope["path"][len(_PREFIX) :])
        if not name or "/" in name:
            await respond(send, 404, _envelope("404", f"there is nothing at {scope['path']}; use {_PREFIX}<module>"))
            return
        if scope["method"] != "POST":
            message = f"{_PREFIX}{name} takes POST, not {scope['method']}"
            await respond(send, 405, _envelope("405", message), allow="POST")
            return
        try:
            with self.admission.admit() as ticket:
                module = await self._find(name, scope, ticket)
                with module.in_use():
                    module.check_room()  # what would be refused is not even read
                    request = await self._decode(module, scope, ticket)
                    response = await while_connected(scope, module.infer(request))
        except ClientGone:
            return
        except _NotJson as error:
            await respond(send, 400, _envelope("101", str(error)))
        except _OldUsage:
            message = f"This usage is out of date, please use 'application/json' as content-type to post to {_PREFIX}{name}."
            await respond(send, 200, _envelope("112", message))
        except HubError as error:
            await self._refuse(name, error, send)
        else:
            await respond(send, 200, b'{"status":"000","msg":"","results":' + (response.json or b"null") + b"}")

    async def _refuse(self, name: str, error: HubError, send: Send) -> None:
        http, status = next((http, status) for cls, http, status in _STATUSES if isinstance(error, cls))
        message = error.message
        if isinstance(error, ModuleNotFound):
            message = f"Module {name} is not available."
        elif isinstance(error, LoadFailed):
            message = f"Module {name} is not available. {message}"
        headers: dict[str, Any] = {"retry_after": error.retry_after_s} if isinstance(error, Unavailable) else {}
        if isinstance(error, TooSlow):
            headers["connection"] = "close"
        await respond(send, http, _envelope(status, message), **headers)

    async def _find(self, name: str, scope: Scope, ticket: Ticket) -> ServedModule:
        """The module, loaded. One that cannot answer is told before the body is looked at."""
        try:
            module = self.dataplane.get(name)
            await module.loaded()
        except HubError:
            await read_body(scope, self.settings, ticket)
            raise
        return module

    async def _decode(self, module: ServedModule, scope: Scope, ticket: Ticket) -> InferRequest:
        """Make a request of what was sent."""
        content_type = header(scope, b"content-type").partition(";")[0].strip().lower()
        request = InferRequest(module.plan.info.name, deadline=deadline_of(scope, self.settings), priority=priority_of(scope))
        body = await read_body(scope, self.settings, ticket)
        if content_type == "multipart/form-data" and Face.PICTURE in module.description.faces:
            request.pictures = await _read_files(scope, body)
        elif content_type == "application/json" or (content_type.startswith("application/") and content_type.endswith("+json")):
            _decode_json(request, body, module)
        elif content_type.startswith("image/"):
            request.pictures = [body]
        elif content_type == "application/octet-stream" and header(scope, b"x-hub-shape"):
            request.tensors = _decode_array(scope, body, module)
        else:
            raise _OldUsage
        return request


async def _read_files(scope: Scope, body: memoryview) -> list[bytes]:
    try:
        form = await _FormRequest(scope, body).form(max_files=MAX_PICTURES, max_fields=1)
    except MultiPartException as error:
        raise InvalidInput(f"the multipart body cannot be read: {error.message}") from None
    try:
        return [await _read_file(field, value) for field, value in form.multi_items()]
    finally:
        await form.close()


async def _read_file(field: str, value: UploadFile | str) -> bytes:
    if isinstance(value, str):
        raise InvalidInput(f"the multipart field '{field}' is no file; send every picture as a file, as in curl -F images=@cat.jpg")
    return await value.read()


class _FormRequest(Request):
    """A request whose body has been read already, within its limit."""

    def __init__(self, scope: Scope, body: memoryview) -> None:
        super().__init__(scope)
        self._whole = body

    async def stream(self) -> AsyncIterator[bytes]:  # type: ignore[override]  # an async generator either way
        yield bytes(self._whole)
        yield b""


def _decode_json(request: InferRequest, body: memoryview, module: ServedModule) -> None:
    where, predict_args = module.description.json_array, module.plan.predict_args
    arguments = split_large_text(body, where.data) if where and not predict_args else None
    if arguments is None:
        arguments = _parse_json(body)
    if arguments is None:
        raise _OldUsage
    if not isinstance(arguments, dict):
        raise _NotJson(f"the body must be a JSON object of arguments, got {_json_type(arguments)}")
    if where and not predict_args and arguments.keys() == set(where):
        name = module.description.inputs[0].name
        request.tensors = {name: _decode_base64(arguments, where)}
    elif predict_args:
        request.arguments = json.dumps({**predict_args, **arguments}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    else:
        request.arguments = body


def _parse_json(body: memoryview) -> Any:
    """Parse JSON; NaN and Infinity are taken as PaddleHub's parser, Python's own, took them."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise _NotJson(f"the body is not valid JSON: {error}") from None


def _json_type(value: Any) -> str:
    return {list: "a list", str: "a text", bool: "a boolean"}.get(type(value), "a number")


def _decode_base64(arguments: dict[str, Any], where: JsonArray) -> Any:
    text, about = arguments[where.data], arguments[where.about]
    check_about(about)
    if not isinstance(text, (str, memoryview)):
        raise InvalidInput(f"'{where.data}' must be base64 text of an array's bytes, got {_json_type(text)}")
    try:
        try:
            # validate=True also selects the vectorised decoder
            raw = pybase64.b64decode(text, validate=True)
        except ValueError:
            raw = decode_base64(text)  # broken into lines, or none
    except ValueError as error:
        raise InvalidInput(f"'{where.data}' is not valid base64: {error}") from None
    return array_from_bytes(raw, about["dtype"], about["shape"])


def _decode_array(scope: Scope, body: memoryview, module: ServedModule) -> dict[str, Any]:
    specs = module.description.inputs
    if len(specs) != 1:
        raise InvalidInput(f"a raw array can only be sent to a module with one input; this one has {len(specs)}")
    shape = header(scope, b"x-hub-shape").strip(" []")
    try:
        lengths = parse_shape([int(each) for each in shape.split(",")])
    except ValueError:
        raise InvalidInput(f"the header X-Hub-Shape must look like '1,3,224,224', got '{shape[:80]}'") from None
    return {specs[0].name: array_from_bytes(body, header(scope, b"x-hub-dtype") or specs[0].dtype, lengths)}


def _envelope(status: str, message: str) -> bytes:
    text = json.dumps({"status": status, "msg": message, "results": ""}, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")
