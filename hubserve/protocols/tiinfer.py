"""tiinfer's protocol: ``POST /inference``, answered by what the script returns.

The body is any JSON value, whatever its content type. It means the one script that the server serves; with several, each has
``/predict/<name>``, and with the Open Inference Protocol an input ``arguments``, like every module that takes JSON. Errors are plain texts.
"""

from typing import Any

from starlette.types import Receive, Scope, Send

from hubserve.access.keys import Need
from hubserve.errors import (
    DeadlineExceeded,
    HubError,
    InvalidInput,
    LoadFailed,
    ModuleNotFound,
    Overloaded,
    TooLarge,
    Unavailable,
    drop_frames,
)
from hubserve.gateway.dataplane import ServedModule
from hubserve.kinds.tiinfer.kind import KIND
from hubserve.net.admission import Admission
from hubserve.net.asgi import ClientGone, deadline_of, priority_of, respond, respond_options, while_connected
from hubserve.net.content_encoding import UnknownEncoding, decode_body
from hubserve.net.headers import header
from hubserve.net.request_body import TooSlow, read_body
from hubserve.protocols.arguments import ArgumentReader
from hubserve.protocols.base import Context, Protocol
from hubserve.protocols.documents import is_small_object
from hubserve.protocols.openapi.arguments import request_of
from hubserve.protocols.openapi.document import JSON, TEXT, Document, answer, operation, with_examples
from hubserve.protocols.openapi.texts import block
from hubserve.telemetry.request_record import note_error
from hubserve.types import InferRequest

_PATH = "/inference"
_NO_DATA = b"no data provided"
_TEXT = "text/plain; charset=utf-8"

#: error -> HTTP status; the first matching class wins
_STATUSES: tuple[tuple[type[HubError], int], ...] = (
    (TooLarge, 413),
    (TooSlow, 408),
    (UnknownEncoding, 415),
    (InvalidInput, 400),
    (ModuleNotFound, 404),
    (LoadFailed, 503),
    (Overloaded, 429),
    (Unavailable, 503),
    (DeadlineExceeded, 504),
    (HubError, 500),
)
_CONFLICT = 409


class _SeveralScripts(ModuleNotFound):
    """The path does not say which of several scripts is meant."""


class TiinferProtocol(Protocol):
    """Handler of ``/inference``."""

    prefixes = (_PATH,)
    kinds = (KIND,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._arguments = ArgumentReader(context.decoders, context.bounds)

    def describe(self, document: Document) -> None:
        """See the base class."""
        scripts = [each for each in document.modules if each.module.plan.info.kind == KIND]
        request = request_of(scripts[0].module) if len(scripts) == 1 else None
        if request is None:
            return
        (script,) = scripts
        content = {JSON: with_examples(request.schema, {"example": ("from the script's serving_example", request.example)})}
        statuses = [status for _, status in _STATUSES]
        responses = {"200": answer("What the script returns.", {}), **document.errors("Tiinfer", statuses, {"type": "string"}, TEXT)}
        description = block(script.module.description.doc)
        tag = document.tag_of(script)
        made = operation("inference", f"Ask {script.name}", tag, responses, description=description, content=content)
        document.add("post", _PATH, made, Need.INFER, script.name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - bodies are read from the exchange
        """Answer one request."""
        if scope["method"] == "OPTIONS":
            await respond_options(send, "POST, OPTIONS")
            return
        if scope["method"] != "POST":
            await respond(send, 405, f"{_PATH} takes POST, not {scope['method']}".encode(), content_type=_TEXT, allow="POST")
            return
        try:
            with self.admission.admit() as admission:
                module = await self._find(scope, admission)
                with module.admit():  # before the body is read
                    request = await self._decode(module, scope, admission)
                    response = await while_connected(scope, module.infer(request)) if request.arguments is not None else None
                answer = (response.json or b"null") if response else _NO_DATA
                admission.check_answer(len(answer))
                await respond(send, 200, answer, content_type="application/json" if response else _TEXT)
        except ClientGone as error:
            drop_frames(error)
        except HubError as error:
            drop_frames(error)
            await _refuse(error, send)

    async def _find(self, scope: Scope, admission: Admission) -> ServedModule:
        """Return the one script that is served, once it is loaded; if that fails, discard the request's body first."""
        try:
            return await self.dataplane.loaded(self._only_script())
        except HubError:
            await read_body(scope, self.settings, admission)
            raise

    def _only_script(self) -> str:
        names = sorted({module.name for module in self.dataplane if module.plan.info.kind == KIND})
        if not names:
            raise ModuleNotFound(f"{_PATH} answers tiinfer scripts (folders with a model_service.py), and this server serves none")
        if len(names) > 1:
            paths = ", ".join(f"/predict/{name}" for name in names)
            raise _SeveralScripts(f"{_PATH} does not say which of {len(names)} tiinfer scripts is meant; send to one of {paths}")
        return names[0]

    async def _decode(self, module: ServedModule, scope: Scope, admission: Admission) -> InferRequest:
        """Decode a request; its arguments are None for an empty body."""
        request = InferRequest(module.name, deadline=deadline_of(scope, self.settings), priority=priority_of(scope))
        body = await read_body(scope, self.settings, admission)
        if coding := header(scope, b"content-encoding"):
            body = await decode_body(body, coding, self.settings.max_body_bytes, admission)
        if not body:
            return request
        predict_args = module.plan.predict_args
        if not predict_args and is_small_object(body, self._arguments.bounds):
            request.arguments = body
        else:
            request.arguments = (await self._arguments.read(body, "the body", predict_args, any_encoding=True)).text
        return request


async def _refuse(error: HubError, send: Send) -> None:
    note_error(error)
    status = _CONFLICT if isinstance(error, _SeveralScripts) else next(http for cls, http in _STATUSES if isinstance(error, cls))
    headers: dict[str, Any] = {"retry_after": error.retry_after_s} if isinstance(error, Unavailable) else {}
    if isinstance(error, TooSlow):
        headers["connection"] = "close"
    await respond(send, status, error.message.encode("utf-8", "replace"), content_type=_TEXT, **headers)
