"""Carries the protocol over gRPC: ``inference.GRPCInferenceService``, on the gateway's event loop, and gRPC's own services beside it.

Messages are decoded here rather than where they are put together, so that bytes that are no message get an answer that says so.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from grpc_health.v1 import health_pb2
from tritonclient.grpc import service_pb2

from hubserve.net.admission import Ticket
from hubserve.net.grpc.call import Call, endpoint_of
from hubserve.net.grpc.framing import Answer, Message
from hubserve.net.grpc.service import Method, Service
from hubserve.net.http2.endpoint import Bound
from hubserve.protocols.base import Context
from hubserve.protocols.open_inference.core.content_encoding import decode_body
from hubserve.protocols.open_inference.grpc.call_errors import check_small, deadline_of, memory_check, refusal
from hubserve.protocols.open_inference.grpc.codec import fill_response, parse
from hubserve.protocols.open_inference.grpc.health import SERVICE as HEALTH_SERVICE
from hubserve.protocols.open_inference.grpc.health import Health
from hubserve.protocols.open_inference.grpc.large_messages import encode_large, read_message
from hubserve.protocols.open_inference.grpc.raw_tensors import response_parts
from hubserve.protocols.open_inference.grpc.reflection import Reflection
from hubserve.protocols.open_inference.grpc.stream import Stream
from hubserve.protocols.open_inference.grpc.tls import TlsServer, tls_context
from hubserve.protocols.open_inference.grpc.unary import ADMIN_CALLS, Calls

log = logging.getLogger("hubserve")

SERVICE = "inference.GRPCInferenceService"

Handle = Callable[[Message, Call, Ticket], Awaitable[Answer]]


class GrpcServer:
    """The gRPC end of a server.

    Args:
        context: what it shares with the HTTP protocols.
        bound: bounds how many connections there are.

    Attributes:
        endpoint: what its connections share.
    """

    def __init__(self, context: Context, bound: Bound) -> None:
        self._context = context
        self._streams: set[Stream] = set()
        self._server: asyncio.Server | TlsServer | None = None
        settings = context.settings
        self._health = Health(context.v2.ready, ("", SERVICE), settings.client_timeout_s)
        self._reflection = Reflection([service_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR], [SERVICE, HEALTH_SERVICE])
        service = Service(
            methods={f"/{service}/{name}": each for service, methods in self._services().items() for name, each in methods.items()},
            max_calls=settings.max_concurrency,
            max_message_bytes=settings.grpc_max_message_bytes or settings.max_body_bytes,
            client_timeout_s=settings.client_timeout_s,
            budget=context.admission,
            deadlines=context.admission.deadlines,
            unpack=self._unpack,
            refuse=refusal,
        )
        self.endpoint = endpoint_of(service)
        self.endpoint.bound = bound

    async def start(self, listener: socket.socket, *, is_shared: bool = False, backlog: int = 100) -> None:
        """Answer the connections that come.

        Args:
            listener: where they come.
            is_shared: somebody else accepts them there, and hands over those that are for :attr:`endpoint`.
            backlog: how many may wait to be accepted.
        Raises:
            ConfigError: the files for TLS cannot be used.
        """
        settings = self._context.settings
        tls = tls_context(settings) if settings.grpc_tls_cert else None
        if tls:
            self._server = TlsServer(self.endpoint, tls, settings.client_timeout_s, listener)
        elif not is_shared:
            self._server = await asyncio.get_running_loop().create_server(self.endpoint.connect, sock=listener, backlog=backlog)
        host, port = listener.getsockname()[:2]
        log.info("grpc://%s:%d is open%s", f"[{host}]" if ":" in host else host, port, ", with TLS" if tls else "")

    async def stop(self, drain_s: float) -> None:
        """Take no more calls, and give those in progress so long to finish."""
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
        handles = {name: _answer(messages[name], call) for name, call in Calls(self._context.v2).table.items()}
        handles |= {name: self._for_admins(handles[name]) for name in ADMIN_CALLS}
        inference = {name: Method(self._answering(handle)) for name, handle in handles.items()}
        inference["ModelInfer"] = Method(self._answering(self._infer))
        inference["ModelStreamInfer"] = Method(self._stream, streams=True)
        check = _answer(health_pb2.HealthCheckRequest, self._health.check)
        health = {"Check": Method(self._answering(check)), "Watch": Method(self._health.watch, streams=True)}
        reflection = {"ServerReflectionInfo": Method(self._reflection.converse, streams=True)}
        return {SERVICE: inference, HEALTH_SERVICE: health, **dict.fromkeys(self._reflection.names, reflection)}

    def _answering(self, handle: Handle) -> Callable[[Message, Call], Awaitable[Answer]]:
        """Bound what all calls together take."""

        async def answer(data: Message, call: Call) -> Answer:
            with self._context.admission.admit() as ticket:
                ticket.reserve(len(data))
                return await handle(data, call, ticket)

        return answer

    def _for_admins(self, handle: Handle) -> Handle:
        """Refuse clients that may not use the admin surface."""

        async def answer(data: Message, call: Call, ticket: Ticket) -> Answer:
            self._context.admin.check_call(call.peer, call.metadata)
            return await handle(data, call, ticket)

        return answer

    async def _infer(self, data: Message, rpc: Call, ticket: Ticket) -> Answer:
        call = await read_message(data, self._context, lambda _: None)
        call.deadline, call.reserve = deadline_of(rpc, self._context.settings), ticket.reserve_more
        call.check_memory = memory_check(self._context, rpc)
        response = service_pb2.ModelInferResponse()
        result = await self._context.v2.infer(call)
        raws = fill_response(response, result, await encode_large(result, self._context))
        return response_parts(response, raws)

    async def _stream(self, rpc: Call) -> None:
        stream = Stream(self._context, rpc)
        self._streams.add(stream)
        try:
            await stream.run()
        finally:
            self._streams.discard(stream)

    async def _unpack(self, message: Message, coding: str) -> Message:
        settings = self._context.settings
        limit = settings.grpc_max_message_bytes or settings.max_body_bytes
        with self._context.admission.admit() as ticket:
            return bytes(await decode_body(memoryview(message), coding, limit, ticket))


def _answer(message: type, call: Callable[[Any], Awaitable[Any]]) -> Handle:
    may_be_large = message is service_pb2.RepositoryModelLoadRequest  # it may bring a model's files

    async def answer(data: Message, _: Call, __: Ticket) -> Answer:
        if not may_be_large:
            check_small(data)
        return [(await call(parse(message, data))).SerializeToString()]

    return answer
