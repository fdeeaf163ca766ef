"""Serve ``inference.GRPCInferenceService`` on the gateway's event loop, with gRPC's health and reflection services.

Messages are decoded here rather than in the gRPC layer, so that bytes of another message get a response that says so.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from grpc_health.v1 import health_pb2
from tritonclient.grpc import service_pb2

from hubserve.access.keys import Need
from hubserve.net.admission import Admission
from hubserve.net.content_encoding import decode_body
from hubserve.net.grpc.call import Call, endpoint_of
from hubserve.net.grpc.framing import Answer, Message
from hubserve.net.grpc.service import Method, Service
from hubserve.net.http2.endpoint import ConnectionLimit
from hubserve.net.tls.listener import TlsListener
from hubserve.protocols.admin import AdminSurface
from hubserve.protocols.base import Context
from hubserve.protocols.open_inference.core.service import OpenInference
from hubserve.protocols.open_inference.grpc.call_errors import check_small, deadline_of, memory_check, refusal
from hubserve.protocols.open_inference.grpc.codec import fill_response, parse
from hubserve.protocols.open_inference.grpc.health import SERVICE as HEALTH_SERVICE
from hubserve.protocols.open_inference.grpc.health import Health
from hubserve.protocols.open_inference.grpc.large_messages import encode_large, read_message
from hubserve.protocols.open_inference.grpc.raw_tensors import response_parts
from hubserve.protocols.open_inference.grpc.reflection import Reflection, without_methods
from hubserve.protocols.open_inference.grpc.stream import Stream
from hubserve.protocols.open_inference.grpc.unary import ADMIN_CALLS, NEEDS, UnaryCalls

log = logging.getLogger("hubserve")

SERVICE = "inference.GRPCInferenceService"

Handler = Callable[[Message, Call, Admission], Awaitable[Answer]]


class GrpcServer:
    """gRPC server of the protocol.

    Args:
        context: state that the server's protocols share.
        connection_limit: limits the number of connections.

    Attributes:
        endpoint: state that its connections share.
        methods: path -> method.
    """

    def __init__(self, context: Context, connection_limit: ConnectionLimit) -> None:
        self._context = context
        self._service = context.shared(OpenInference)
        self._streams: set[Stream] = set()
        self._server: asyncio.Server | None = None
        settings = context.settings
        self._health = Health(self._service.catalog.is_ready, ("", SERVICE), settings.client_timeout_s)
        own = service_pb2.DESCRIPTOR if context.admin else without_methods(service_pb2.DESCRIPTOR, ADMIN_CALLS)
        self._reflection = Reflection([own, health_pb2.DESCRIPTOR], [SERVICE, HEALTH_SERVICE])
        self.methods = {f"/{service}/{name}": each for service, methods in self._services().items() for name, each in methods.items()}
        service = Service(
            methods=self.methods,
            max_calls=settings.max_concurrency,
            max_message_bytes=settings.grpc_max_message_bytes or settings.max_body_bytes,
            client_timeout_s=settings.client_timeout_s,
            budget=context.admission,
            deadlines=context.admission.deadlines,
            decompress=self._unpack,
            refuse=refusal,
            telemetry=context.telemetry,
            client_of=context.proxies.client_of if context.proxies.are_set else None,
            gate=context.gate,
        )
        self.endpoint = endpoint_of(service)
        self.endpoint.connection_limit = connection_limit

    async def start(self, listener: socket.socket, *, is_shared: bool = False, backlog: int = 100, tls: TlsListener | None = None) -> None:
        """Start to accept connections.

        Args:
            listener: a listening socket.
            is_shared: the HTTP server accepts connections on the socket, and hands those that speak gRPC to :attr:`endpoint`.
            backlog: most connections that wait to be accepted.
            tls: of the port; None if it is not encrypted.
        """
        if not is_shared:
            make = tls.secure(self.endpoint.connect) if tls else self.endpoint.connect
            self._server = await asyncio.get_running_loop().create_server(make, sock=listener, backlog=backlog)
        host, port = listener.getsockname()[:2]
        log.info("grpc://%s:%d is open%s", f"[{host}]" if ":" in host else host, port, ", with TLS" if tls else "")

    async def stop(self, drain_s: float) -> None:
        """Accept no more calls, and let those in progress finish for at most ``drain_s``."""
        if self._server:
            self._server.close()
        for stream in self._streams:
            stream.close()
        self._health.close()
        self._reflection.close()
        await self.endpoint.stop(drain_s)

    def _services(self) -> dict[str, dict[str, Method]]:
        methods = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
        messages = {each.name: getattr(service_pb2, each.input_type.name) for each in methods}
        admin = self._context.admin
        calls = UnaryCalls(self._service, has_admin=admin is not None).table
        handlers = {name: _decoding(messages[name], call) for name, call in calls.items()}
        if admin:
            handlers |= {name: _restricted(handlers[name], admin) for name in ADMIN_CALLS}
        inference = {name: Method(self._admitting(handler), need=NEEDS.get(name, Need.ADMIN)) for name, handler in handlers.items()}
        inference["ModelInfer"] = Method(self._admitting(self._infer), need=Need.INFER)
        inference["ModelStreamInfer"] = Method(self._stream, streams=True, has_requests=True, need=Need.INFER)
        check = _decoding(health_pb2.HealthCheckRequest, self._health.check)
        health = {
            "Check": Method(self._admitting(check), need=Need.OPEN),
            "Watch": Method(self._health.watch, streams=True, need=Need.OPEN),
        }
        reflection = {"ServerReflectionInfo": Method(self._reflection.answer, streams=True, need=Need.ANY)}
        return {SERVICE: inference, HEALTH_SERVICE: health, **dict.fromkeys(self._reflection.names, reflection)}

    def _admitting(self, handler: Handler) -> Callable[[Message, Call], Awaitable[Answer]]:
        """Return a handler that calls ``handler`` within the server's limits on requests and memory."""

        async def answer(data: Message, call: Call) -> Answer:
            with self._context.admission.admit() as admission:
                admission.reserve(len(data))
                return await handler(data, call, admission)

        return answer

    async def _infer(self, data: Message, call: Call, admission: Admission) -> Answer:
        request = await read_message(data, self._service.large_requests)
        request.deadline, request.reserve = deadline_of(call, self._context.settings), admission.reserve_more
        request.check_memory = memory_check(self._context, call)
        response = service_pb2.ModelInferResponse()
        result = await self._service.inference.infer(request)
        raws = fill_response(response, result, await encode_large(result, self._context.decoders))
        return response_parts(response, raws)

    async def _stream(self, call: Call) -> None:
        stream = Stream(self._service, self._context, call)
        self._streams.add(stream)
        try:
            await stream.run()
        finally:
            self._streams.discard(stream)

    async def _unpack(self, message: Message, coding: str) -> Message:
        settings = self._context.settings
        limit = settings.grpc_max_message_bytes or settings.max_body_bytes
        with self._context.admission.admit() as admission:
            return bytes(await decode_body(memoryview(message), coding, limit, admission))


def _restricted(handler: Handler, admin: AdminSurface) -> Handler:
    """Return a handler that lets only clients of the admin surface call ``handler``."""

    async def answer(data: Message, call: Call, admission: Admission) -> Answer:
        admin.check_call(call.peer, call.metadata)
        return await handler(data, call, admission)

    return answer


def _decoding(message: type, call: Callable[[Any], Awaitable[Any]]) -> Handler:
    """Return a handler that decodes a message for ``call`` and encodes its response."""
    may_be_large = message is service_pb2.RepositoryModelLoadRequest  # may contain a model's files

    async def answer(data: Message, _: Call, __: Admission) -> Answer:
        if not may_be_large:
            check_small(data)
        return [(await call(parse(message, data))).SerializeToString()]

    return answer
