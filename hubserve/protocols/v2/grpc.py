"""Carries the protocol over gRPC: ``inference.GRPCInferenceService``, on the gateway's event loop, and gRPC's own health service beside it.

Messages are decoded here rather than by the gRPC library, so that bytes that are no message get an answer that says so.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from tritonclient.grpc import service_pb2

from hubserve.errors import ConfigError
from hubserve.protocols.base import Context
from hubserve.protocols.v2.errors import NotHere
from hubserve.protocols.v2.grpc_calls import Calls
from hubserve.protocols.v2.grpc_codec import decode_call, fill_response, parse
from hubserve.protocols.v2.grpc_rpc import deadline_of, refusal
from hubserve.protocols.v2.grpc_stream import Stream
from hubserve.settings import ServerSettings

log = logging.getLogger("hubserve")

SERVICE = "inference.GRPCInferenceService"
HEALTH_SERVICE = "grpc.health.v1.Health"
_LONGEST_MESSAGE_BYTES = 2**31 - 1

Handle = Callable[[bytes, Any], Awaitable[bytes]]


class GrpcServer:
    """The gRPC end of a server.

    Args:
        context: what it shares with the HTTP protocols.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._calls = Calls(context.v2)
        self._streams: set[Stream] = set()
        settings = context.settings
        self._server = grpc.aio.server(options=_options(settings), maximum_concurrent_rpcs=settings.max_concurrency)
        self._server.add_generic_rpc_handlers((self._inference_service(), self._health_service()))

    async def start(self) -> int:
        """Listen.

        Returns:
            The port.
        Raises:
            ConfigError: it is in use, or the files for TLS cannot be used.
        """
        settings = self._context.settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"{host}:{settings.grpc_port}"
        try:
            port = self._bind(address)
        except RuntimeError as error:
            raise ConfigError(
                f"cannot listen for gRPC on {address}: {error}. Choose another port with --grpc-port, or end what uses it"
            ) from None
        await self._server.start()
        log.info("grpc://%s:%d is open%s", host, port, ", with TLS" if settings.grpc_tls_cert else "")
        return port

    def _bind(self, address: str) -> int:
        settings = self._context.settings
        if not settings.grpc_tls_cert:
            return int(self._server.add_insecure_port(address))
        return int(self._server.add_secure_port(address, _credentials(settings)))

    async def stop(self, drain_s: float) -> None:
        """Take no more calls, and give those in progress so long to finish."""
        for stream in self._streams:
            stream.close()
        await self._server.stop(drain_s)

    def _inference_service(self) -> Any:
        methods = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
        messages = {each.name: getattr(service_pb2, each.input_type.name) for each in methods}
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(self._answering(_answer(messages[name], call)))
            for name, call in self._calls.table.items()
        }
        handlers["ModelInfer"] = grpc.unary_unary_rpc_method_handler(self._answering(self._infer))
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _health_service(self) -> Any:
        check = _answer(health_pb2.HealthCheckRequest, self._health)
        return grpc.method_handlers_generic_handler(HEALTH_SERVICE, {"Check": grpc.unary_unary_rpc_method_handler(self._answering(check))})

    def _answering(self, handle: Handle) -> Handle:
        """Give a failure the status that it is called by, and bound what all calls together take."""

        async def answer(data: bytes, rpc: Any) -> bytes:
            try:
                with self._context.admission.admit() as ticket:
                    ticket.reserve(len(data))
                    return await handle(data, rpc)
            except Exception as error:
                await rpc.abort(*refusal(error))
                raise  # not reached: abort has raised

        return answer

    async def _infer(self, data: bytes, rpc: Any) -> bytes:
        call = decode_call(parse(service_pb2.ModelInferRequest, data))
        call.deadline = deadline_of(rpc, self._context.settings)
        response = service_pb2.ModelInferResponse()
        fill_response(response, await self._context.v2.infer(call))
        return bytes(response.SerializeToString())

    async def _stream(self, _: Any, rpc: Any) -> None:
        stream = Stream(self._context, rpc)
        self._streams.add(stream)
        try:
            await stream.run()
        except Exception as error:
            await rpc.abort(*refusal(error))
        finally:
            self._streams.discard(stream)

    async def _health(self, request: Any) -> Any:
        if request.service not in ("", SERVICE):
            raise NotHere(f"there is no service '{request.service[:80]}' here; ask for '' or '{SERVICE}'")
        status = health_pb2.HealthCheckResponse
        return status(status=status.SERVING if self._context.v2.ready() else status.NOT_SERVING)


def _answer(message: type, call: Callable[[Any], Awaitable[Any]]) -> Handle:
    async def answer(data: bytes, _: Any) -> bytes:
        return bytes((await call(parse(message, data))).SerializeToString())

    return answer


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # else a second server would get half of the calls
        ("grpc.max_receive_message_length", settings.grpc_max_message_bytes or min(settings.max_body_bytes, _LONGEST_MESSAGE_BYTES)),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", round(settings.client_timeout_s * 1e3)),  # clients that went without a word are noticed
    ]


def _credentials(settings: ServerSettings) -> Any:
    """What encrypted connections are made with.

    Raises:
        ConfigError: the files cannot be used.
    """
    try:
        # gRPC's own message says neither which file nor why
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.grpc_tls_cert, settings.grpc_tls_key)
        key, chain = (Path(each).read_bytes() for each in (settings.grpc_tls_key, settings.grpc_tls_cert))
    except OSError as error:
        files = f"'{settings.grpc_tls_cert}' and '{settings.grpc_tls_key}'"
        raise ConfigError(f"{files} are no PEM files of a certificate and its key ({error.strerror}); gRPC with TLS needs both") from None
    return grpc.ssl_server_credentials([(key, chain)])
