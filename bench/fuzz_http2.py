"""Fuzz the gRPC port with mutated HTTP/2 connections.

Each is a recorded connection (unary calls, streams, compressed and large messages, unusual frames) with a few changes to its frames or
bytes. No process may end, nothing unexpected may be logged, no connection may stay open, memory may not grow, and valid calls in between
must be answered. Hostile connections, made as fast as the server accepts them, may use only a bounded amount of processor time.

    python bench/fuzz_http2.py
    python bench/fuzz_http2.py --count 1000 --seed 7
"""

import asyncio
import gzip
import struct
import sys
from collections.abc import Callable
from itertools import pairwise
from random import Random

import grpc
import hpack
import uvloop
from stress.fuzz_run import SHOWN, FuzzRun, parse_options, server_under_test
from stress.hostile_http2 import cost_promise
from stress.report import Promise, print_report
from stress.server import Server, free_port

from tests.unit.net.http2.raw import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    fields_of,
    frame,
    frames_of,
    prefixed,
    setting,
    u32,
)
from tests.v2_mutations import whole_message

CONNECTIONS = 8
_CHECK = "/grpc.health.v1.Health/Check"
_INFER = "/inference.GRPCInferenceService/ModelInfer"
_STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
_CLIENT_TIMEOUT_S = 2
#: the client closes a connection that is silent for this long
_IDLE_S = 0.02
_TIMEOUT_S = 30.0
_GOOD_EVERY = 50
_UNEXPECTED = ("unexpected error", "Traceback", "Fatal error", "exception")
#: numbers that have broken servers
_ODD = (0, 1, 2, 3, 4, 5, 9, 255, 2**14 - 1, 2**14, 2**14 + 1, 2**20, 2**20 + 1, 2**24 - 1, 2**31 - 1, 2**31, 2**32 - 1)

Frames = list[bytes]


def recorded() -> list[Frames]:
    """Return connections of valid clients, frame by frame."""
    return [_calls(), _streams(), _oddities()]


def _head(encoder: hpack.Encoder, path: str, **more: str) -> bytes:
    return bytes(encoder.encode(fields_of(path, **more)))


def _calls() -> Frames:
    encoder, infer = hpack.Encoder(), whole_message("INT32")
    found = [frame(SETTINGS, payload=setting(4, 1 << 20) + setting(5, 1 << 15)), frame(WINDOW_UPDATE, payload=u32(1 << 20))]
    for number, (path, message) in enumerate([(_CHECK, b""), (_INFER, infer), (_INFER, infer), (_CHECK, b""), (_INFER, infer)]):
        found.append(frame(HEADERS, END_HEADERS, 2 * number + 1, _head(encoder, path)))
        found.append(frame(DATA, END_STREAM, 2 * number + 1, prefixed(message)))
    found.append(frame(HEADERS, END_HEADERS, 11, _head(encoder, _INFER, grpc_encoding="gzip", grpc_timeout="5S")))
    found.append(frame(DATA, END_STREAM, 11, prefixed(gzip.compress(infer), 1)))
    return [*found, frame(PING, payload=b"12345678"), frame(SETTINGS, 1)]


def _streams() -> Frames:
    encoder, infer = hpack.Encoder(), prefixed(whole_message("INT32"))
    found = [
        frame(SETTINGS),
        frame(HEADERS, END_HEADERS, 1, _head(encoder, _STREAM)),
        frame(HEADERS, END_HEADERS, 3, _head(encoder, _STREAM)),
    ]
    for at in range(0, len(infer), 40):
        found.append(frame(DATA, 0, 1, infer[at : at + 40]))
        found.append(frame(DATA, 0, 3, infer + infer[:at]))
    found.append(frame(HEADERS, END_HEADERS, 5, _head(encoder, _INFER)))
    large = prefixed(bytes(200_000))
    found += [frame(DATA, 0, 5, large[at : at + 50_000]) for at in range(0, len(large), 50_000)]
    found += [frame(DATA, END_STREAM, 1), frame(RST_STREAM, 0, 3, u32(8)), frame(DATA, END_STREAM, 5)]
    return found


def _oddities() -> Frames:
    encoder = hpack.Encoder()
    block = _head(encoder, _CHECK, x_long="y" * 200)
    return [
        frame(SETTINGS, payload=setting(4, 3)),
        frame(HEADERS, PADDED | HAS_PRIORITY, 1, b"\2" + u32(0) + b"\7" + block[:20] + bytes(2)),
        frame(CONTINUATION, 0, 1, block[20:40]),
        frame(CONTINUATION, END_HEADERS, 1, block[40:]),
        frame(DATA, PADDED, 1, b"\3" + prefixed(b"") + bytes(3)),
        frame(PRIORITY, 0, 1, u32(0) + b"\1"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, encoder.encode([("x-checksum", "1")])),
        frame(0xEE, 0xFF, 1, b"unknown"),
        frame(HEADERS, END_HEADERS, 3, _head(encoder, "/none/None")),
        frame(DATA, END_STREAM, 3, prefixed(b"x")),
        frame(WINDOW_UPDATE, 0, 1, u32(100)),
        frame(SETTINGS, payload=setting(4, 0)),
        frame(HEADERS, END_HEADERS | END_STREAM, 5, _head(encoder, _CHECK, method="GET")),
        frame(SETTINGS, payload=setting(4, 1 << 16)),
    ]


def mutated(random: Random, frames: Frames) -> bytes:
    """Return a connection with a few changes."""
    frames = list(frames)
    for _ in range(random.choice((1, 1, 2, 3, 5, 8))):
        random.choice(_CHANGES)(random, frames)
    data = PREFACE + b"".join(frames)
    if random.random() < 0.1:
        data = data[: random.randrange(1, len(data))]
    if random.random() < 0.05:
        data = _flipped(random, data)
    return data


def _flipped(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _flip(random: Random, frames: Frames) -> None:
    at = random.randrange(len(frames))
    frames[at] = _flipped(random, frames[at]) if frames[at] else b"\0"


def _flip_head(random: Random, frames: Frames) -> None:
    at = random.randrange(len(frames))
    frames[at] = _flipped(random, frames[at][:9] or b"\0") + frames[at][9:]


def _drop(random: Random, frames: Frames) -> None:
    if len(frames) > 1:
        frames.pop(random.randrange(len(frames)))


def _double(random: Random, frames: Frames) -> None:
    frames.insert(random.randrange(len(frames) + 1), random.choice(frames))


def _repeat(random: Random, frames: Frames) -> None:
    at = random.randrange(len(frames))
    frames[at] = frames[at] * random.choice((3, 50))


def _swap(random: Random, frames: Frames) -> None:
    one, other = random.randrange(len(frames)), random.randrange(len(frames))
    frames[one], frames[other] = frames[other], frames[one]


def _cut(random: Random, frames: Frames) -> None:
    at = random.randrange(len(frames))
    frames[at] = frames[at][: random.randrange(len(frames[at]) + 1)]


def _other_length(random: Random, frames: Frames) -> None:
    at = random.randrange(len(frames))
    length = random.choice((random.randrange(300), random.choice(_ODD) & 0xFFFFFF))
    frames[at] = length.to_bytes(3, "big") + frames[at][3:]


def _other_payload(random: Random, frames: Frames) -> None:
    at = random.randrange(len(frames))
    found, _ = frames_of(frames[at])
    if found:
        one = found[0]
        payload = random.choice((one.payload[: random.randrange(len(one.payload) + 1)], random.randbytes(random.randrange(60))))
        frames[at] = frame(one.kind, one.flags, one.stream, payload)


def _other_stream(random: Random, frames: Frames) -> None:
    at = random.randrange(len(frames))
    frames[at] = frames[at][:5] + u32(random.choice((random.randrange(14), random.choice(_ODD)))) + frames[at][9:]


def _insert(random: Random, frames: Frames) -> None:
    stream = random.choice((0, 1, 3, 5, 7, random.choice(_ODD)))
    payload = random.choice(
        (
            b"",
            u32(random.choice(_ODD)),
            struct.pack(">HI", random.randrange(8), random.choice(_ODD)),
            random.randbytes(random.randrange(40)),
            prefixed(random.randbytes(random.randrange(40)), random.randrange(3)),
            struct.pack(">BI", 0, random.choice(_ODD)),
        )
    )
    new = frame(random.randrange(11), random.choice((0, 1, 4, 5, 8, 0x20, 0x2D, random.randrange(256))), stream, payload)
    frames.insert(random.randrange(len(frames) + 1), new)


_CHANGES: tuple[Callable[[Random, Frames], None], ...] = (
    _flip, _flip_head, _drop, _double, _repeat, _swap, _cut, _other_length, _other_payload, _other_stream, _insert, _insert,
)  # fmt: skip


def main() -> int:
    """Run, print, and return the exit status."""
    args = parse_options("mutated HTTP/2 connections", 20_000)
    port = free_port()
    with server_under_test(args.log, client_timeout_s=_CLIENT_TIMEOUT_S, grpc_port=port) as server:
        run = _Run(server, port, args.count, args.seed)
        uvloop.run(run.all())
        promises = run.judge()
        cost, hostile = cost_promise(server, port)
        log = server.log.read_text("utf-8", "replace")
    found = {word: log.count(word) for word in _UNEXPECTED if word in log}
    promises.append(Promise("the server log has no unexpected entries", str(found or "nothing"), not found))
    promises.append(cost)
    rows = [{"connections": f"mutated: ended by {end}", "found": str(count)} for end, count in sorted(run.outcomes.items())] + hostile
    title = f"{args.count} mutated connections, seed {args.seed}, in {run.took_s:.0f} s"
    return print_report(title, rows, promises, {"failures": run.failures[:SHOWN]}, as_json=args.json)


class _Run(FuzzRun):
    def __init__(self, server: Server, port: int, count: int, seed: int) -> None:
        super().__init__(server.process.pid, count, seed, senders=CONNECTIONS)
        self._port = port
        self._recorded = recorded()

    async def send(self) -> None:
        """Make one connection, and a valid call from time to time."""
        if self.sent % _GOOD_EVERY == 0:
            await self._good()
        await self._connect(mutated(self.random, self.random.choice(self._recorded)), self.random.choice((0, 1, 3)))

    async def _good(self) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._port}") as channel:
            try:
                await channel.unary_unary(_INFER)(whole_message("INT32"), timeout=_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                self.failures.append({"after": str(self.sent), "answer": f"{error.code().name}: {error.details()}"})

    async def _connect(self, data: bytes, cuts: int) -> None:
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self._port), _TIMEOUT_S)
        except (OSError, asyncio.TimeoutError) as error:
            self.failures.append({"after": str(self.sent), "answer": repr(error)})
            return
        try:
            for start, end in _pieces(self.random, len(data), cuts):
                if writer.transport.is_closing():
                    break
                writer.write(data[start:end])
                await asyncio.sleep(0)
            while await asyncio.wait_for(reader.read(1 << 16), _IDLE_S):
                pass
            self.outcomes["the server"] += 1
        except asyncio.TimeoutError:
            self.outcomes["the client"] += 1
        except OSError:
            self.outcomes["the server, before all was sent"] += 1
        writer.close()

    def judge(self) -> list[Promise]:
        """Compare the results with the promises."""
        asyncio.run(self._good())
        return [
            Promise("valid calls are answered, then and afterwards", f"{len(self.failures)} are not", not self.failures),
            self.processes_promise(may_start=True),  # large messages are decoded in processes of their own
            self.descriptors_promise(spare=2),
            self.memory_promise(),
        ]


def _pieces(random: Random, length: int, cuts: int) -> list[tuple[int, int]]:
    places = sorted({0, length, *(random.randrange(length + 1) for _ in range(cuts))})
    return list(pairwise(places))


if __name__ == "__main__":
    sys.exit(main())
