"""PaddleHub Serving's protocol: ``POST /predict/<module>``, answered by ``{"status", "msg", "results"}``.

The keys of a JSON body are the arguments of the module's serving method, as in PaddleHub. Modules that accept them can also be sent
``image/*`` bodies, ``multipart/form-data``, and ``application/octet-stream`` arrays described by the headers ``X-Hub-Shape: 1,3,224,224``
and ``X-Hub-Dtype: float32``; responses and batches are the same. See docs/requests.md.
"""

import json
import logging
from typing import Any
from urllib.parse import unquote

from starlette.types import Receive, Scope, Send

from hubserve.errors import (
    DeadlineExceeded,
    HubError,
    InstanceDied,
    InvalidInput,
    LoadFailed,
    ModuleNotFound,
    NotJson,
    Overloaded,
    TooLarge,
    Unavailable,
    drop_frames,
    usage_sentence,
)
from hubserve.gateway.dataplane import ServedModule
from hubserve.net.admission import Admission
from hubserve.net.asgi import ClientGone, deadline_of, priority_of, respond, respond_options, while_connected
from hubserve.net.content_encoding import UnknownEncoding, decode_body
from hubserve.net.headers import header
from hubserve.net.request_body import TooSlow, read_body
from hubserve.protocols.arguments import ArgumentReader, BatchKeys
from hubserve.protocols.base import Context, Protocol
from hubserve.protocols.browser_links import is_from_browser, lead_to_docs
from hubserve.protocols.documents import is_small_object
from hubserve.protocols.forms import apply_form, read_form
from hubserve.protocols.openapi.document import Document
from hubserve.protocols.paddlehub_operations import describe_module
from hubserve.telemetry.request_record import note_error
from hubserve.types import InferRequest, InferResponse, array_from_bytes, parse_shape

log = logging.getLogger("hubserve")

_PREFIX = "/predict/"
#: before and after a module's results; results over ``_JOINED_BYTES`` are sent without copying
_BEFORE, _AFTER = b'{"status":"000","msg":"","results":', b"}"
_JOINED_BYTES = 1 << 20
#: prefixes of the module's name in PaddleHub 1
_OLD_PREFIXES = ("image/", "text/")

#: error -> (HTTP status with ``status_codes: paddlehub``, HTTP status with ``http``, PaddleHub status); the first matching class wins
_STATUSES: tuple[tuple[type[HubError], int, int, str], ...] = (
    (NotJson, 400, 400, "101"),
    (TooLarge, 413, 413, "101"),
    (TooSlow, 408, 408, "101"),
    (UnknownEncoding, 415, 415, "101"),
    (InvalidInput, 200, 400, "101"),
    (ModuleNotFound, 200, 404, "111"),
    (LoadFailed, 200, 503, "111"),
    (Overloaded, 429, 429, "101"),
    (Unavailable, 503, 503, "101"),
    (DeadlineExceeded, 504, 504, "101"),
    (InstanceDied, 500, 500, "101"),
    (HubError, 200, 500, "101"),
)
#: HTTP status of a content type that no module takes, by ``status_codes``
_OLD_USAGE = {"paddlehub": 200, "http": 415}


class _OldUsage(Exception):
    """The content type is one that only the first versions of PaddleHub accepted."""


class PaddleHubProtocol(Protocol):
    """Handler of ``/predict/<module>``."""

    prefixes = (_PREFIX,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._arguments = ArgumentReader(context.decoders, context.bounds)

    def describe(self, document: Document) -> None:
        """See the base class."""
        has_own = self.settings.status_codes == "paddlehub"
        statuses = [own if has_own else http for _, own, http, _ in _STATUSES]
        for each in document.modules:
            describe_module(document, each, statuses, fails_with_200=has_own)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - bodies are read from the exchange
        """Answer one request."""
        name = unquote(scope["path"][len(_PREFIX) :]).strip("/")
        if not name or "/" in name:
            await respond(send, 404, _envelope("404", _not_found_text(scope["path"], name)))
            return
        if scope["method"] == "OPTIONS":
            await respond_options(send, "POST, OPTIONS")
            return
        if scope["method"] != "POST":
            if self.context.has_pages and is_from_browser(scope):
                await lead_to_docs(scope, send, name)
                return
            message = f"{_PREFIX}{name} takes POST, not {scope['method']}"
            await respond(send, 405, _envelope("405", message), allow="POST")
            return
        try:
            with self.admission.admit() as admission:
                module = await self._find(name, scope, admission)
                with module.admit():  # before the body is read
                    request = await self._decode(module, scope, admission)
                    response = await self._infer(module, request, scope)
                results = response.json or b"null"
                admission.check_answer(len(results))
                await _respond_results(send, results)
        except ClientGone as error:
            drop_frames(error)
        except _OldUsage:
            message = f"This usage is out of date, please use 'application/json' as content-type to post to {_PREFIX}{name}."
            await respond(send, _OLD_USAGE[self.settings.status_codes], _envelope("112", message))
        except HubError as error:
            drop_frames(error)
            await self._refuse(name, error, send)

    async def _infer(self, module: ServedModule, request: InferRequest, scope: Scope) -> InferResponse:
        try:
            return await while_connected(scope, module.infer(request))
        except InvalidInput as error:
            usage = usage_sentence(module.description.usage)
            if request.pictures is None or usage in error.message or _content_type(scope).startswith("image/"):
                raise
            raise type(error)(error.message + usage) from None

    async def _refuse(self, name: str, error: HubError, send: Send) -> None:
        note_error(error)
        _, paddlehub, http, status = next(row for row in _STATUSES if isinstance(error, row[0]))
        message = error.message
        if isinstance(error, ModuleNotFound):
            message = f"Module {name} is not available."
        elif isinstance(error, LoadFailed):
            message = f"Module {name} is not available. {message}"
        headers: dict[str, Any] = {"retry_after": error.retry_after_s} if isinstance(error, Unavailable) else {}
        if isinstance(error, TooSlow):
            headers["connection"] = "close"
        await respond(send, http if self.settings.status_codes == "http" else paddlehub, _envelope(status, message), **headers)

    async def _find(self, name: str, scope: Scope, admission: Admission) -> ServedModule:
        """Return the module once it is loaded; if that fails, discard the request's body first."""
        try:
            module = await self.dataplane.loaded(name)
        except HubError:
            await read_body(scope, self.settings, admission)
            raise
        return module

    async def _decode(self, module: ServedModule, scope: Scope, admission: Admission) -> InferRequest:
        """Decode a request."""
        content_type = _content_type(scope)
        request = InferRequest(module.plan.info.name, deadline=deadline_of(scope, self.settings), priority=priority_of(scope))
        body = await read_body(scope, self.settings, admission)
        if coding := header(scope, b"content-encoding"):
            body = await decode_body(body, coding, self.settings.max_body_bytes, admission)
        if content_type == "multipart/form-data":
            apply_form(request, await read_form(scope, body), module, self._arguments.bounds)
        elif content_type == "application/json" or (content_type.startswith("application/") and content_type.endswith("+json")):
            await _decode_json(request, body, module, self._arguments)
        elif content_type.startswith("image/"):
            request.pictures = [body]
        elif content_type == "application/octet-stream" and header(scope, b"x-hub-shape"):
            request.tensors = _decode_array(scope, body, module)
        else:
            raise _OldUsage
        return request


def _content_type(scope: Scope) -> str:
    return header(scope, b"content-type").partition(";")[0].strip().lower()


async def _respond_results(send: Send, results: Any) -> None:
    if len(results) <= _JOINED_BYTES:
        await respond(send, 200, _BEFORE + results + _AFTER)
        return
    length = b"%d" % (len(_BEFORE) + len(results) + len(_AFTER))
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for part in (_BEFORE, results):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": _AFTER})


async def _decode_json(request: InferRequest, body: memoryview, module: ServedModule, reader: ArgumentReader) -> None:
    described, predict_args = module.description, module.plan.predict_args
    keys = BatchKeys(described.json_array, described.json_pictures)
    if not any(keys) and not predict_args and is_small_object(body, reader.bounds):
        request.arguments = body
        return
    try:
        arguments = await reader.read(body, "the body", predict_args, keys, any_encoding=True)
    except InvalidInput as error:
        raise type(error)(error.message + usage_sentence(described.usage)) from None
    if arguments.array is not None:
        request.tensors = {described.inputs[0].name: arguments.array}
    elif arguments.pictures is not None:
        request.pictures = arguments.pictures
    elif described.any_json:
        request.arguments = arguments.text
    elif arguments.found == "null":
        raise _OldUsage
    elif arguments.found:
        raise NotJson(f"the body must be a JSON object of arguments, got {arguments.found}{usage_sentence(described.usage)}")
    else:
        request.arguments = arguments.text


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


def _not_found_text(path: str, name: str) -> str:
    old = next((each for each in _OLD_PREFIXES if name.startswith(each)), None)
    if old:
        return f"there is nothing at {path}, which is an address of PaddleHub 1; use {_PREFIX}{name.removeprefix(old)}"
    return f"there is nothing at {path}; use {_PREFIX}<module>"


def _envelope(status: str, message: str) -> bytes:
    text = json.dumps({"status": status, "msg": message, "results": ""}, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")
