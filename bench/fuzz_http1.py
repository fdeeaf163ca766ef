"""Fuzz the HTTP/1.1 port with malformed and smuggling connections.

Each sends valid requests, split anywhere, then possibly an invalid one with smuggled data behind it, or a few changed bytes. All complete
valid requests before the first invalid byte must be answered, once and in order; what is invalid is refused or the connection closed; no
process may end, nothing unexpected may be logged, no connection may stay open, memory may not grow.

    python bench/fuzz_http1.py
    python bench/fuzz_http1.py --count 1000 --seed 7
"""

import argparse
import asyncio
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import uvloop
from stress.fuzz_run import SHOWN, FuzzRun
from stress.report import Promise, print_report
from stress.server import Server, add_server_options, running_server

from tests.http1_conversations import Conversation, conversation, fault
from tests.v2_mutations import calm_modules

CONNECTIONS = 8
_CLIENT_TIMEOUT_S = 2
_TIMEOUT_S = 30.0
_UNEXPECTED = ("unexpected error", "Traceback", "Fatal error", "exception")


def main() -> int:
    """Run, print, and return the exit status."""
    parser = argparse.ArgumentParser(description="wrong connections of HTTP/1.1; ends with 1 if one does harm")
    parser.add_argument("--count", type=int, default=20_000, help="how many (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the chances (default %(default)s)")
    add_server_options(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "modules").mkdir()
        modules = calm_modules(Path(name) / "modules")
        with running_server(modules, folder=Path(name), log=args.log, max_body_bytes=1 << 20, client_timeout_s=_CLIENT_TIMEOUT_S) as server:
            run = _Run(server, args.count, args.seed)
            uvloop.run(run.all())
            promises = run.judge()
            log = server.log.read_text("utf-8", "replace")
    found = {word: log.count(word) for word in _UNEXPECTED if word in log}
    promises.append(Promise("nothing unexpected is in the server's log", str(found or "nothing"), not found))
    rows = [{"what came": kind, "connections": count} for kind, count in sorted(run.outcomes.items())]
    title = f"{args.count} connections, seed {args.seed}, in {run.took_s:.0f} s"
    return print_report(title, rows, promises, {"failures": run.failures[:SHOWN]}, as_json=args.json)


class _Run(FuzzRun):
    def __init__(self, server: Server, count: int, seed: int) -> None:
        super().__init__(server.process.pid, count, seed, senders=CONNECTIONS)
        self._port = server.port

    async def send(self) -> None:
        """Make one connection."""
        asked = conversation(self.random)
        self.outcomes[{True: "wrong requests", False: "right requests", None: "changed bytes"}[asked.is_refused]] += 1
        try:
            wrong = fault(asked, await asyncio.wait_for(self._received(asked), _TIMEOUT_S))
        except (OSError, asyncio.TimeoutError) as error:
            wrong = repr(error)
        if wrong:
            self.failures.append({"sent": repr(asked.sent)[:1000], "fault": wrong})

    async def _received(self, asked: Conversation) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        cuts = self.random.choice((0, 0, 1, 3, 8))
        places = sorted({0, len(asked.sent), *(self.random.randrange(len(asked.sent)) for _ in range(cuts))})
        try:
            for start, end in pairwise(places):
                writer.write(asked.sent[start:end])
                await asyncio.sleep(0)
            writer.write_eof()
            return await reader.read()
        finally:
            writer.close()

    def judge(self) -> list[Promise]:
        """Compare the results with the promises."""
        return [
            Promise("what is right is answered once and in order, what is wrong is not", f"{len(self.failures)} faults", not self.failures),
            self.processes_promise(),
            self.descriptors_promise(),
            self.memory_promise(),
        ]


if __name__ == "__main__":
    sys.exit(main())
