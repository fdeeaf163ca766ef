"""The Open Inference Protocol, version 2, with Triton's extensions, over HTTP.

One table has every path: what matches it, its methods, and the method of this class that answers.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, aclosing
from functools import partial
from typing import Any

from starlette.types import Receive, Scope, Send

from hubserve.bounded_cache import Recent
from hubserve.errors import HubError, InvalidInput, ModuleNotFound, Unavailable, drop_frames
from hubserve.net.admission import Ticket
from hubserve.net.asgi import ClientGone, deadline_of, priority_of, respond_options, while_connected
from hubserve.net.headers import header
from hubserve.net.request_body import TooSlow, read_body
from hubserve.protocols.base import Context, Protocol
from hubserve.protocols.open_inference.core.content_encoding import decode_body, encode_body, wanted_coding
from hubserve.protocols.open_inference.core.errors import NotHere, WrongMethod, http_status
from hubserve.protocols.open_inference.core.json_tensors import dump_json
from hubserve.protocols.open_inference.core.signatures import Signature
from hubserve.protocols.open_inference.core.types import InferCall, InferResult
from hubserve.protocols.open_inference.http import control
from hubserve.protocols.open_inference.http.generate import write_generate
from hubserve.protocols.open_inference.http.tensor_header_cache import Layouts
from hubserve.protocols.open_inference.http.tensors import NOTHING, encode_large, needs_steps, write_result

_JSON = b"application/json"
_BINARY = b"application/octet-stream"
_EVENTS = b"text/event-stream; charset=utf-8"
#: parts of an answer up to this are joined to one; larger ones are written as they are
_JOINED_BYTES = 64 << 10
#: of so many paths it is remembered what they ask for
_ROUTES_REMEMBERED = 256
_MAX_PATH_CHARS = 256

_MODEL = r"models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?"
Answer = Callable[..., Awaitable[None]]


class V2Protocol(Protocol):
    """See the module's text."""

    prefixes = ("/v2", "/v2/")

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._v2 = context.v2
        # the most frequent first
        routes: list[tuple[str, str, Answer]] = [
            (_MODEL + "/infer", "POST", self._infer),
            (_MODEL + "/generate", "POST", self._generate),
            (_MODEL + "/generate_stream", "POST", self._generate_stream),
            ("health/live", "GET", self._live),
            ("health/ready", "GET", self._ready),
            ("models/stats", "GET", self._statistics),
            (_MODEL + "/ready", "GET", self._model_ready),
            (_MODEL + "/config", "GET", self._model_config),
            (_MODEL + "/stats", "GET", self._statistics),
            ("", "GET", self._server_metadata),
            (_MODEL, "GET", self._model_metadata),
        ]
        routes += [(pattern, method, self._control(answer)) for pattern, method, answer in control.ROUTES]
        answers: dict[str, dict[str, Answer]] = {}
        for pattern, method, answer in routes:
            of_path = answers.setdefault(pattern, {})
            of_path[method] = answer
            if method == "GET":
                of_path["HEAD"] = answer
        self._layouts = Layouts()
        self._nan = context.settings.v2_nan
        self._found: Recent[tuple[str, str], tuple[Answer, dict[str, str]]] = Recent(_ROUTES_REMEMBERED)
        self._routes = [(re.compile(pattern), of_path) for pattern, of_path in answers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - bodies are read from the exchange
        """Answer one request."""
        try:
            place = (scope["method"], scope["path"])
            answer, arguments = self._found.get(place) or self._find_route(*place)
            with self.admission.admit() as ticket:
                await answer(scope, send, ticket, **arguments)
        except ClientGone as error:
            drop_frames(error)
        except HubError as error:
            drop_frames(error)
            await _refuse(send, error)

    def _find_route(self, method: str, path: str) -> tuple[Answer, dict[str, str]]:
        for pattern, answers in self._routes:
            match = pattern.fullmatch(path, len("/v2/"))
            if match is None:
                continue
            answer = answers.get(method) or (_options(answers) if method == "OPTIONS" else None)
            if answer is None:
                allowed = ", ".join(answers)
                raise WrongMethod(f"{path} takes {allowed}, not {method}", allowed)
            found = answer, {name: value for name, value in match.groupdict().items() if value is not None}
            if len(path) <= _MAX_PATH_CHARS:
                self._found[method, path] = found
            return found
        raise NotHere(f"there is nothing at {path[:200]}; paths of the protocol begin with /v2/models/<model> or /v2/health")

    # --- health and what models are ---

    async def _live(self, scope: Scope, send: Send, ticket: Ticket) -> None:  # noqa: ARG002 - all answers are called alike
        await _respond(send, 200, [dump_json({"live": self._v2.live()})])

    async def _ready(self, scope: Scope, send: Send, ticket: Ticket) -> None:  # noqa: ARG002
        if self._v2.ready():
            await _respond(send, 200, [dump_json({"ready": True})])
            return
        reasons = [f"'{module.plan.info.name}': {module.not_ready_reason}" for module in self.dataplane if not module.ready]
        await _respond(send, 400, [dump_json({"ready": False, "error": "not ready: " + "; ".join(reasons)})])

    async def _model_ready(self, scope: Scope, send: Send, ticket: Ticket, model: str, version: str = "") -> None:  # noqa: ARG002
        try:
            ready, reason = self._v2.model_ready(model, version), f"'{model}' is not ready: "
            reason += "" if ready else self._v2.find(model, version).not_ready_reason
        except ModuleNotFound as error:
            ready, reason = False, error.message
        about = {"name": model, "ready": ready}
        await _respond(send, 200 if ready else 400, [dump_json(about if ready else {**about, "error": reason})])

    async def _server_metadata(self, scope: Scope, send: Send, ticket: Ticket) -> None:  # noqa: ARG002
        await _respond(send, 200, [dump_json(self._v2.server_metadata())])

    async def _model_metadata(self, scope: Scope, send: Send, ticket: Ticket, model: str, version: str = "") -> None:  # noqa: ARG002
        await _respond(send, 200, [dump_json(await while_connected(scope, self._v2.model_metadata(model, version)))])

    async def _model_config(self, scope: Scope, send: Send, ticket: Ticket, model: str, version: str = "") -> None:  # noqa: ARG002
        await _respond(send, 200, [dump_json(await while_connected(scope, self._v2.model_config(model, version)))])

    async def _statistics(self, scope: Scope, send: Send, ticket: Ticket, model: str = "", version: str = "") -> None:  # noqa: ARG002
        await _respond(send, 200, [dump_json(self._v2.statistics(model, version))])

    def _control(self, answer: control.Answer) -> Answer:
        async def respond(scope: Scope, send: Send, ticket: Ticket, **arguments: str) -> None:
            self.context.admin.check(scope)
            document = control.read_document(await self._body(scope, ticket), self.context.bounds) if scope["method"] == "POST" else {}
            told = await answer(self._v2, document, **arguments)
            await _respond(send, 200, [] if told is None else [dump_json(told)])

        return respond

    # --- inference ---

    async def _infer(self, scope: Scope, send: Send, ticket: Ticket, model: str, version: str = "") -> None:
        signature, admission = await self._admit(scope, ticket, model, version)
        with admission:
            body = await self._body(scope, ticket)
            call = await self._v2.reader.infer(body, header(scope, b"inference-header-content-length"), signature, self._layouts)
            result = await while_connected(scope, self._v2.infer(self._timed(call, scope, ticket, version), signature))
        binary = call.parameters.get("binary_data_output")
        parts, head_bytes = write_result(result, binary, self._nan, await self._encode_large(result, binary))
        headers = [] if head_bytes is None else [(b"inference-header-content-length", b"%d" % head_bytes)]
        coding = wanted_coding(header(scope, b"accept-encoding"))
        if coding:
            parts, headers = [await encode_body(parts, coding)], [*headers, (b"content-encoding", coding.encode())]
        ticket.check_answer(sum(map(len, parts)))
        await _respond(send, 200, parts, _JSON if head_bytes is None else _BINARY, headers)

    async def _generate(self, scope: Scope, send: Send, ticket: Ticket, model: str, version: str = "") -> None:
        signature, admission = await self._admit(scope, ticket, model, version)
        with admission:
            call = self._timed(await self._v2.reader.generate(await self._body(scope, ticket), signature), scope, ticket, version)
            result = await while_connected(scope, self._only(call, signature))
        answer = write_generate(result, self._nan, await self._encode_large(result, False))
        ticket.check_answer(len(answer))
        await _respond(send, 200, [answer])

    async def _only(self, call: InferCall, signature: Signature) -> InferResult:
        results = [result async for result in self._v2.stream(call, signature) if result.outputs]
        if len(results) != 1:
            raise InvalidInput(
                f"generate expects model to produce exactly 1 response, and '{call.model}' gave {len(results)}; use generate_stream for it"
            )
        return results[0]

    async def _generate_stream(self, scope: Scope, send: Send, ticket: Ticket, model: str, version: str = "") -> None:
        signature, admission = await self._admit(scope, ticket, model, version)
        with admission:
            call = self._timed(await self._v2.reader.generate(await self._body(scope, ticket), signature), scope, ticket, version)
            async with aclosing(self._v2.stream(call, signature)) as results:
                await while_connected(scope, self._send_events(send, results))

    async def _send_events(self, send: Send, results: AsyncIterator[InferResult]) -> None:
        """Send each result as a server-sent event. An error before the first is raised; later ones are events, too."""
        started = False
        try:
            async for result in results:
                if not result.outputs:  # it only says that there are no more
                    continue
                event = write_generate(result, self._nan, await self._encode_large(result, False))
                if not started:
                    await _start_events(send)
                    started = True
                await send({"type": "http.response.body", "body": b"data: " + event + b"\n\n", "more_body": True})
        except HubError as error:
            if not started:
                raise
            await send({"type": "http.response.body", "body": b"data: " + _error(error.message) + b"\n\n", "more_body": True})
        if not started:
            await _start_events(send)
        await send({"type": "http.response.body", "body": b""})

    async def _encode_large(self, result: InferResult, binary: Any) -> Mapping[str, Any]:
        return await encode_large(result, binary, self._nan, self.context.decoders) if needs_steps(result, binary) else NOTHING

    async def _admit(self, scope: Scope, ticket: Ticket, model: str, version: str) -> tuple[Signature, AbstractContextManager[None]]:
        """Admit a request before its body is read: return the loaded model, and the ``with`` block in which it is kept."""
        try:
            signature = self._v2.known_signature(self._v2.find(model, version))
            if signature is None:
                signature = await while_connected(scope, self._v2.signature(model, version))
            return signature, signature.module.admit()
        except HubError as error:
            if not isinstance(error, Unavailable):
                await read_body(scope, self.settings, ticket)
            raise

    async def _body(self, scope: Scope, ticket: Ticket) -> memoryview:
        body = await read_body(scope, self.settings, ticket)
        coding = header(scope, b"content-encoding")
        return await decode_body(body, coding, self.settings.max_body_bytes, ticket) if coding else body

    def _timed(self, call: InferCall, scope: Scope, ticket: Ticket, version: str) -> InferCall:
        call.version, call.reserve = version, ticket.reserve_more
        call.deadline, call.priority = deadline_of(scope, self.settings), priority_of(scope)
        if self.settings.shared_memory:
            call.check_memory = partial(self.context.admin.check, scope)
        return call


def _options(answers: Mapping[str, Answer]) -> Answer:
    async def respond(scope: Scope, send: Send, ticket: Ticket, **arguments: str) -> None:  # noqa: ARG001 - all answers are called alike
        await respond_options(send, ", ".join([*answers, "OPTIONS"]))

    return respond


async def _start_events(send: Send) -> None:
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", _EVENTS), (b"cache-control", b"no-cache")]},
    )


async def _respond(send: Send, status: int, parts: list[Any], content_type: bytes = _JSON, headers: Any = ()) -> None:
    """Send a complete answer.

    Args:
        send: ASGI's.
        status: HTTP status code.
        parts: of the body, bytes-like.
        content_type: of the body.
        headers: further ones.
    """
    size = sum(map(len, parts))
    if size <= _JOINED_BYTES and len(parts) != 1:
        parts = [b"".join(parts)]
    kind = [(b"content-type", content_type)] if size else []
    await send({"type": "http.response.start", "status": status, "headers": [*kind, (b"content-length", b"%d" % size), *headers]})
    for part in parts[:-1]:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": parts[-1]})


async def _refuse(send: Send, error: HubError) -> None:
    headers = []
    if isinstance(error, Unavailable):
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    elif isinstance(error, WrongMethod):
        headers.append((b"allow", error.allowed.encode()))
    elif isinstance(error, TooSlow):
        headers.append((b"connection", b"close"))
    await _respond(send, http_status(error), [_error(error.message)], headers=headers)


def _error(message: str) -> bytes:
    return dump_json({"error": message})
