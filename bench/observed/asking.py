"""Load on one server, over PaddleHub's protocol and over gRPC, with the processor time that its requests take."""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import NamedTuple

import grpc
import numpy as np
from tritonclient.grpc import service_pb2

from bench.observed.running import Running
from bench.peers.servers.base import VALUES
from hubserve.bench import load
from hubserve.bench.load import Pattern, Timing
from hubserve.bench.loops import ServerAddress
from hubserve.bench.recorder import percentile

WARM_UP_S = 0.5
_TIMEOUT_S = 30.0
_CALL = "/inference.GRPCInferenceService/ModelInfer"


class Seen(NamedTuple):
    """One round of one server.

    Attributes:
        per_s: requests answered in a second.
        p50_ms, p99_ms: of their latencies.
        processor_us: processor time of the gateway and its instances for each.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    processor_us: float


class Task(NamedTuple):
    """One kind of request, and a load of it.

    Attributes:
        title: for the table.
        ask: puts load on a server, with a number of requests in flight, for some seconds.
        is_classifier: whether the classifier answers.
    """

    title: str
    ask: Callable[[Running, int, float], Seen]
    is_classifier: bool


def _predict(module: str, arguments: dict[str, object]) -> Callable[[Running, int, float], Seen]:
    """Return a load on ``/predict`` over connections that are kept alive."""
    body = json.dumps(arguments).encode()

    def ask(running: Running, in_flight: int, seconds: float) -> Seen:
        head = f"POST /predict/{module} HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nContent-Type: application/json\r\n"
        if running.key:
            head += f"Authorization: Bearer {running.key}\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        used: list[float] = []
        address = ServerAddress("127.0.0.1", running.port, running.tls())
        timing = Timing(WARM_UP_S, seconds, _TIMEOUT_S)
        counted = load.run(address, request, Pattern(connections=in_flight), timing, on_window=lambda _: used.append(running.processor_s()))
        if counted.failures or not counted.answered:
            raise RuntimeError(f"requests to '{running.name}' failed: {counted.failures or 'none was answered'}")
        times = [1e3 * percentile(counted.latencies_s, each) for each in (50, 99)]
        return Seen(counted.answered / counted.seconds, *times, 1e6 * (used[1] - used[0]) / counted.answered)

    return ask


def _infer(module: str, array: np.ndarray) -> Callable[[Running, int, float], Seen]:
    """Return a load of calls over one connection of gRPC."""
    request = service_pb2.ModelInferRequest(model_name=module)
    request.inputs.add(name="x", datatype="FP32", shape=array.shape)
    request.raw_input_contents.append(array.tobytes())
    message = request.SerializeToString()
    return lambda running, in_flight, seconds: asyncio.run(_call(running, message, in_flight, seconds))


async def _call(running: Running, message: bytes, in_flight: int, seconds: float) -> Seen:
    metadata = [("authorization", f"Bearer {running.key}")] if running.key else []
    latencies: list[float] = []
    async with _channel(running) as channel:
        call = channel.unary_unary(_CALL)
        await call(message, metadata=metadata, timeout=_TIMEOUT_S)  # opens the connection
        start = time.monotonic() + WARM_UP_S
        end = start + seconds

        async def ask() -> None:
            while (sent := time.monotonic()) < end:
                await call(message, metadata=metadata)
                if start <= (answered := time.monotonic()) < end:
                    latencies.append(answered - sent)

        asking = asyncio.gather(*(ask() for _ in range(in_flight)))
        await asyncio.sleep(start - time.monotonic())
        before = running.processor_s()
        await asyncio.sleep(end - time.monotonic())
        used = running.processor_s() - before
        await asking
    if not latencies:
        raise RuntimeError(f"no call of '{running.name}' was answered")
    latencies.sort()
    times = [1e3 * percentile(latencies, each) for each in (50, 99)]
    return Seen(len(latencies) / seconds, *times, 1e6 * used / len(latencies))


def _channel(running: Running) -> grpc.aio.Channel:
    address = f"127.0.0.1:{running.grpc_port}"
    if not running.authority:
        return grpc.aio.insecure_channel(address)
    with open(running.authority, "rb") as file:
        return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(file.read()))


def tasks(has_classifier: bool) -> list[Task]:
    """Return the kinds of requests.

    Args:
        has_classifier: whether they serve it.
    """
    found = [
        Task("do-nothing, /predict", _predict("do_nothing", {"values": VALUES}), is_classifier=False),
        Task("do-nothing, gRPC", _infer("echo", np.zeros((1, 16), np.float32)), is_classifier=False),
    ]
    if has_classifier:
        image = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
        described = {"shape": list(image.shape), "dtype": "float32"}
        arguments: dict[str, object] = {"images": base64.b64encode(image.tobytes()).decode(), "revert_params": described}
        found.append(Task("classifier, /predict", _predict("clas_system", arguments), is_classifier=True))
        found.append(Task("classifier, gRPC", _infer("clas_system", image), is_classifier=True))
    return found
