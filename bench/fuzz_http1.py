"""Fuzz the HTTP/1.1 port with malformed and smuggling connections.

Each sends valid requests, split anywhere, then possibly an invalid one with smuggled data behind it, or a few changed bytes. All complete
valid requests before the first invalid byte must be answered, once and in order; what is invalid is refused or the connection closed; no
process may end, nothing unexpected may be logged, no connection may stay open, memory may not grow.

    python bench/fuzz_http1.py
    python bench/fuzz_http1.py --count 1000 --seed 7
"""

import asyncio
import sys
from itertools import pairwise

import uvloop
from stress.fuzz_run import SHOWN, FuzzRun, parse_options, server_under_test
from stress.report import Promise, print_report
from stress.server import Server

from tests.http1_conversations import Conversation, conversation, fault

CONNECTIONS = 8
_CLIENT_TIMEOUT_S = 2
_TIMEOUT_S = 30.0
_UNEXPECTED = ("unexpected error", "Traceback", "Fatal error", "exception")


def main() -> int:
    """Run, print, and return the exit status."""
    args = parse_options("malformed HTTP/1.1 connections", 20_000)
    with server_under_test(args.log, client_timeout_s=_CLIENT_TIMEOUT_S) as server:
        run = _Run(server, args.count, args.seed)
        uvloop.run(run.all())
        promises = run.judge()
        log = server.log.read_text("utf-8", "replace")
    found = {word: log.count(word) for word in _UNEXPECTED if word in log}
    promises.append(Promise("the server log has no unexpected entries", str(found or "nothing"), not found))
    rows = [{"connections sent": kind, "connections": count} for kind, count in sorted(run.outcomes.items())]
    title = f"{args.count} connections, seed {args.seed}, in {run.took_s:.0f} s"
    return print_report(title, rows, promises, {"failures": run.failures[:SHOWN]}, as_json=args.json)


class _Run(FuzzRun):
    def __init__(self, server: Server, count: int, seed: int) -> None:
        super().__init__(server.process.pid, count, seed, senders=CONNECTIONS)
        self._port = server.port

    async def send(self) -> None:
        """Make one connection."""
        planned = conversation(self.random)
        self.outcomes[{True: "invalid requests", False: "valid requests", None: "changed bytes"}[planned.is_refused]] += 1
        try:
            failure = fault(planned, await asyncio.wait_for(self._received(planned), _TIMEOUT_S))
        except (OSError, asyncio.TimeoutError) as error:
            failure = repr(error)
        if failure:
            self.failures.append({"sent": repr(planned.sent)[:1000], "fault": failure})

    async def _received(self, planned: Conversation) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        cuts = self.random.choice((0, 0, 1, 3, 8))
        cuts_at = sorted({0, len(planned.sent), *(self.random.randrange(len(planned.sent)) for _ in range(cuts))})
        try:
            for start, end in pairwise(cuts_at):
                writer.write(planned.sent[start:end])
                await asyncio.sleep(0)
            writer.write_eof()
            return await reader.read()
        finally:
            writer.close()

    def judge(self) -> list[Promise]:
        """Compare the results with the promises."""
        return [
            Promise(
                "valid requests are answered once and in order, invalid ones are refused", f"{len(self.failures)} faults", not self.failures
            ),
            self.processes_promise(),
            self.descriptors_promise(),
            self.memory_promise(),
        ]


if __name__ == "__main__":
    sys.exit(main())
