"""The Open Inference Protocol over HTTP: one table of all paths, and their handlers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, aclosing
from functools import partial
from typing import Any

from starlette.types import Receive, Scope, Send

from hubserve.access.keys import Need
from hubserve.errors import HubError, InvalidInput, ModuleNotFound, Unavailable, drop_frames
from hubserve.net.admission import Admission
from hubserve.net.asgi import ClientGone, deadline_of, priority_of, while_connected
from hubserve.net.content_encoding import decode_body, encode_body, wanted_coding
from hubserve.net.headers import header
from hubserve.net.request_body import read_body
from hubserve.protocols.admin import AdminSurface
from hubserve.protocols.base import Context, Protocol
from hubserve.protocols.open_inference.core.json_tensors import dump_json
from hubserve.protocols.open_inference.core.service import OpenInference
from hubserve.protocols.open_inference.core.shared_memory import refuse_shared_memory
from hubserve.protocols.open_inference.core.signatures import Signature
from hubserve.protocols.open_inference.core.types import NOT_ENCODED, InferCall, InferResult
from hubserve.protocols.open_inference.http import admin_routes
from hubserve.protocols.open_inference.http.admin_operations import describe_admin
from hubserve.protocols.open_inference.http.encode import encode_large, needs_steps, write_result
from hubserve.protocols.open_inference.http.generate import write_generate
from hubserve.protocols.open_inference.http.large_requests import RequestReader
from hubserve.protocols.open_inference.http.model_operations import describe_model
from hubserve.protocols.open_inference.http.responses import BINARY, JSON, EventStream, error_body, respond, respond_error, respond_json
from hubserve.protocols.open_inference.http.routes import PREFIX, Handler, Route, Router
from hubserve.protocols.open_inference.http.server_operations import describe_server
from hubserve.protocols.openapi.document import Document

_MODEL = r"models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?"


class OpenInferenceProtocol(Protocol):
    """Handlers of the protocol's paths; those of the admin surface are in :mod:`hubserve.protocols.open_inference.http.admin_routes`.

    Attributes:
        router: the table of paths.
    """

    prefixes = (PREFIX.rstrip("/"), PREFIX)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        service = context.shared(OpenInference)
        self._service = service
        self._catalog = service.catalog
        self._inference = service.inference
        self._reader = RequestReader(service.large_requests, context.bounds)
        self._nan = context.settings.v2_nan
        routes: list[Route] = [  # the most frequent first
            Route(_MODEL + "/infer", "POST", self._infer, Need.INFER),
            Route(_MODEL + "/generate", "POST", self._generate, Need.INFER),
            Route(_MODEL + "/generate_stream", "POST", self._generate_stream, Need.INFER),
            Route("health/live", "GET", self._live, Need.OPEN),
            Route("health/ready", "GET", self._ready, Need.OPEN),
            Route("models/stats", "GET", self._statistics, Need.METADATA),
            Route(_MODEL + "/ready", "GET", self._model_ready, Need.METADATA),
            Route(_MODEL + "/config", "GET", self._model_config, Need.METADATA),
            Route(_MODEL + "/stats", "GET", self._statistics, Need.METADATA),
            Route("", "GET", self._server_metadata, Need.METADATA),
            Route(_MODEL, "GET", self._model_metadata, Need.METADATA),
        ]
        if context.admin:
            routes += [
                Route(pattern, method, self._restricted(handler, context.admin), Need.ADMIN)
                for pattern, method, handler in admin_routes.ROUTES
            ]
        self.router = Router(routes)

    def describe(self, document: Document) -> None:
        """See the base class."""
        describe_server(document)
        if self.context.admin is not None:
            describe_admin(document, self.settings)
        for each in document.modules:
            describe_model(document, each, self._catalog.signature_of)

    def need_of(self, scope: Scope) -> Need:
        """Return what a request needs its key to permit: what its route says."""
        return self.router.need_of(scope["method"], scope["path"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - bodies are read from the exchange
        """Answer one request."""
        try:
            handler, arguments = self.router.find(scope["method"], scope["path"])
            with self.admission.admit() as admission:
                await handler(scope, send, admission, **arguments)
        except ClientGone as error:
            drop_frames(error)
        except HubError as error:
            drop_frames(error)
            await respond_error(send, error)

    # --- health and descriptions ---

    async def _live(self, scope: Scope, send: Send, admission: Admission) -> None:  # noqa: ARG002 - all handlers are called alike
        await respond_json(send, {"live": True})

    async def _ready(self, scope: Scope, send: Send, admission: Admission) -> None:  # noqa: ARG002
        if self._catalog.is_ready():
            await respond_json(send, {"ready": True})
            return
        reasons = [f"'{module.plan.info.name}': {module.not_ready_reason}" for module in self.context.all_models if not module.ready]
        if self.context.gate:  # this path needs no key
            reasons = [f"{len(reasons)} models"]
        await respond_json(send, {"ready": False, "error": "not ready: " + "; ".join(reasons)}, 400)

    async def _model_ready(self, scope: Scope, send: Send, admission: Admission, model: str, version: str = "") -> None:  # noqa: ARG002
        try:
            module = self._catalog.find(model, version)
        except ModuleNotFound as error:
            await respond_json(send, {"name": model, "ready": False, "error": error.message}, 400)
            return
        if module.ready:
            await respond_json(send, {"name": model, "ready": True})
        else:
            reason = f"'{model}' is not ready: {module.not_ready_reason}"
            await respond_json(send, {"name": model, "ready": False, "error": reason}, 400)

    async def _server_metadata(self, scope: Scope, send: Send, admission: Admission) -> None:  # noqa: ARG002
        await respond_json(send, self._catalog.server_metadata(has_admin=self.context.admin is not None))

    async def _model_metadata(self, scope: Scope, send: Send, admission: Admission, model: str, version: str = "") -> None:  # noqa: ARG002
        await respond_json(send, await while_connected(scope, self._catalog.model_metadata(model, version)))

    async def _model_config(self, scope: Scope, send: Send, admission: Admission, model: str, version: str = "") -> None:  # noqa: ARG002
        await respond_json(send, await while_connected(scope, self._catalog.model_config(model, version)))

    async def _statistics(self, scope: Scope, send: Send, admission: Admission, model: str = "", version: str = "") -> None:  # noqa: ARG002
        await respond_json(send, self._catalog.statistics(model, version))

    def _restricted(self, handler: admin_routes.Handler, admin: AdminSurface) -> Handler:
        """Return a handler that lets only clients of the admin surface use ``handler``, and sends its result."""

        async def answer(scope: Scope, send: Send, admission: Admission, **arguments: str) -> None:
            admin.check(scope)
            document: dict[str, Any] = {}
            if scope["method"] == "POST":
                document = admin_routes.read_document(await self._body(scope, admission), self.context.bounds)
            result = await handler(self._service, document, **arguments)
            await respond(send, 200, [] if result is None else [dump_json(result)])

        return answer

    # --- inference ---

    async def _infer(self, scope: Scope, send: Send, admission: Admission, model: str, version: str = "") -> None:
        signature, in_use = await self._admit(scope, admission, model, version)
        with in_use:
            body = await self._body(scope, admission)
            call = await self._reader.infer(body, header(scope, b"inference-header-content-length"), signature)
            self._complete(call, scope, admission, version)
            result = await while_connected(scope, self._inference.infer(call, signature))
        binary = call.parameters.get("binary_data_output")
        parts, json_bytes = write_result(result, binary, self._nan, await self._encode_large(result, binary))
        headers = [] if json_bytes is None else [(b"inference-header-content-length", b"%d" % json_bytes)]
        coding = wanted_coding(header(scope, b"accept-encoding"))
        if coding:
            parts, headers = [await encode_body(parts, coding)], [*headers, (b"content-encoding", coding.encode())]
        admission.check_answer(sum(map(len, parts)))
        await respond(send, 200, parts, JSON if json_bytes is None else BINARY, headers)

    async def _generate(self, scope: Scope, send: Send, admission: Admission, model: str, version: str = "") -> None:
        signature, in_use = await self._admit(scope, admission, model, version)
        with in_use:
            call = await self._reader.generate(await self._body(scope, admission), signature)
            self._complete(call, scope, admission, version)
            result = await while_connected(scope, self._only_result(call, signature))
        body = write_generate(result, self._nan, await self._encode_large(result, False))
        admission.check_answer(len(body))
        await respond(send, 200, [body])

    async def _only_result(self, call: InferCall, signature: Signature) -> InferResult:
        results = [result async for result in self._inference.stream(call, signature) if result.outputs]
        if len(results) != 1:
            raise InvalidInput(
                f"generate expects model to produce exactly 1 response, and '{call.model}' gave {len(results)}; use generate_stream for it"
            )
        return results[0]

    async def _generate_stream(self, scope: Scope, send: Send, admission: Admission, model: str, version: str = "") -> None:
        signature, in_use = await self._admit(scope, admission, model, version)
        with in_use:
            call = await self._reader.generate(await self._body(scope, admission), signature)
            self._complete(call, scope, admission, version)
            async with aclosing(self._inference.stream(call, signature)) as results:
                await while_connected(scope, self._send_events(EventStream(send), results))

    async def _send_events(self, events: EventStream, results: AsyncIterator[InferResult]) -> None:
        """Send each result as an event. An error before the first event is raised; later errors are events, too."""
        try:
            async for result in results:
                if result.outputs:  # a result without outputs only marks the end
                    await events.event(write_generate(result, self._nan, await self._encode_large(result, False)))
        except HubError as error:
            if not events.started:
                raise
            await events.event(error_body(error))
        await events.end()

    async def _encode_large(self, result: InferResult, binary: Any) -> Mapping[str, Any]:
        return await encode_large(result, binary, self._nan, self.context.decoders) if needs_steps(result, binary) else NOT_ENCODED

    async def _admit(self, scope: Scope, admission: Admission, model: str, version: str) -> tuple[Signature, AbstractContextManager[None]]:
        """Admit a request before its body is read; return the loaded model's signature and a ``with`` block that keeps it in use."""
        try:
            signature = self._catalog.cached_signature(self._catalog.find(model, version))
            if signature is None:
                signature = await while_connected(scope, self._catalog.signature(model, version))
            return signature, signature.module.admit()
        except HubError as error:
            if not isinstance(error, Unavailable):
                await read_body(scope, self.settings, admission)
            raise

    async def _body(self, scope: Scope, admission: Admission) -> memoryview:
        body = await read_body(scope, self.settings, admission)
        coding = header(scope, b"content-encoding")
        return await decode_body(body, coding, self.settings.max_body_bytes, admission) if coding else body

    def _complete(self, call: InferCall, scope: Scope, admission: Admission, version: str) -> None:
        """Set the attributes of a request that come from its path, headers and connection."""
        call.version, call.reserve = version, admission.reserve_more
        call.deadline, call.priority = deadline_of(scope, self.settings), priority_of(scope)
        if self.settings.shared_memory:
            admin = self.context.admin
            call.check_memory = partial(admin.check, scope) if admin else refuse_shared_memory
