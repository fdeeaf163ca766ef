"""Fuzz the protocols with mutated requests.

Each is a recorded request (``tests/v2_requests.py``), or one of PaddleHub's, with a few changes to its body, headers, path or lengths,
among them JSON nested deep anywhere in it; or, one in five, a gRPC message with a few changes to its bytes, or with such JSON.
Every complete request must be answered, and never with the status of a server failure; no instance may end, and memory may not grow.

    python bench/fuzz_v2.py
    python bench/fuzz_v2.py --requests 20000 --seed 7
"""

import asyncio
import contextlib
import sys
from typing import Any

import grpc
import requests
import uvloop
from stress.fuzz_run import SHOWN, FuzzRun, parse_options, server_under_test
from stress.report import Promise, print_report
from stress.server import Server, free_port

from tests.v2 import is_whole
from tests.v2_mutations import ALL_CASES, is_complete, mutated, mutated_message

CONNECTIONS = 8
#: where a client asks for less time than it takes, 504 is right; for another version of HTTP, 505
_ALLOWED = (501, 503, 504, 505)
_GRPC_ALLOWED = ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "RESOURCE_EXHAUSTED")
_GRPC_SHARE = 0.2
_INFER = "/inference.GRPCInferenceService/ModelInfer"
_TIMEOUT_S = 60.0


def main() -> int:
    """Run, print, and return the exit status."""
    args = parse_options("mutated requests of the Open Inference Protocol", 200_000, "--requests")
    port = free_port()
    with server_under_test(args.log, client_timeout_s=5, grpc_port=port) as server:
        run = _Run(server, port, args.count, args.seed)
        uvloop.run(run.all())
        promises = run.judge()
        log = server.log.read_text("utf-8", "replace")
    promises.append(
        Promise("nothing unexpected is in the server's log", f"{log.count('an unexpected error')} times", "an unexpected error" not in log)
    )
    rows = [{"status": status, "answers": count} for status, count in sorted(run.outcomes.items())]
    title = f"{args.count} mutated requests, seed {args.seed}, in {run.took_s:.0f} s"
    return print_report(title, rows, promises, {"failures": run.failures[:SHOWN]}, as_json=args.json)


class _Run(FuzzRun):
    def __init__(self, server: Server, grpc_port: int, count: int, seed: int) -> None:
        super().__init__(server.process.pid, count, seed, senders=CONNECTIONS)
        self._server = server
        self._grpc_port = grpc_port
        self._cases = sorted(ALL_CASES)
        self._infer: Any = None

    async def all(self) -> None:
        """Send everything."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._grpc_port}") as channel:
            self._infer = channel.unary_unary(_INFER)
            await super().all()

    async def send(self) -> None:
        """Send a request of HTTP, or a call of gRPC."""
        if self.random.random() < _GRPC_SHARE:
            await self._call(mutated_message(self.random, "INT32", ("sizes", "shout")))
        else:
            await self._request(mutated(self.random, ALL_CASES[self.random.choice(self._cases)]))

    async def _call(self, message: bytes) -> None:
        status, text = "OK", ""
        try:
            await self._infer(message, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            status, text = error.code().name, error.details() or ""
        self.outcomes[f"gRPC {status}"] += 1
        if status not in _GRPC_ALLOWED:
            self.failures.append({"request": repr(message[:2000]), "answer": f"{status}: {text}"})

    async def _request(self, request: bytes) -> None:
        complete = is_complete(request)
        try:
            answer = await asyncio.wait_for(_exchange(self._server.port, request, complete), _TIMEOUT_S)
        except TimeoutError:
            answer = b""
        while answer.startswith(b"HTTP/1.1 100"):
            answer = answer.partition(b"\r\n\r\n")[2]
        status = int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else "none" if complete else "none, it was not complete"
        self.outcomes[str(status)] += 1
        if status == "none" or (isinstance(status, int) and status >= 500 and status not in _ALLOWED):
            self.failures.append({"request": repr(request[:2000]), "answer": repr(answer[:500])})

    def judge(self) -> list[Promise]:
        """Compare the results with the promises."""
        ready = requests.get(self._server.url + "/v2/health/ready", timeout=10).status_code
        return [
            Promise(
                "every complete request is answered, by no failure of the server's own", f"{len(self.failures)} are not", not self.failures
            ),
            Promise("the server is ready afterwards", f"status {ready}", ready == 200),
            self.processes_promise(may_start=True),  # pictures are decoded in processes of their own
            self.descriptors_promise(spare=CONNECTIONS),
            self.memory_promise(),
        ]


async def _exchange(port: int, request: bytes, complete: bool) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with contextlib.suppress(OSError):  # the server may close before all is sent
        writer.write(request)
        if not complete:  # the server would wait for the rest
            writer.write_eof()
        while not is_whole(answer) and (part := await reader.read(1 << 16)):
            answer += part
    writer.close()
    return answer


if __name__ == "__main__":
    sys.exit(main())
