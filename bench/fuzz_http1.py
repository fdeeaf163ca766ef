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
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random

import uvloop
from stress.processes import child_pids, descriptor_count, resident_mb
from stress.report import Promise, growth_promise, print_report
from stress.server import Server, add_server_options, running_server

from tests.http1_conversations import Conversation, conversation, fault
from tests.v2_mutations import calm_modules

CONNECTIONS = 8
_CLIENT_TIMEOUT_S = 2
_TIMEOUT_S = 30.0
_SAMPLES = 200
_STRETCH = 0.2
_SHOWN = 10
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
    rows = [{"what came": kind, "connections": count} for kind, count in sorted(run.kinds.items())]
    title = f"{args.count} connections, seed {args.seed}, in {run.took_s:.0f} s"
    return print_report(title, rows, promises, {"failures": run.failures[:_SHOWN]}, as_json=args.json)


class _Run:
    def __init__(self, server: Server, count: int, seed: int) -> None:
        self.kinds: Counter[str] = Counter()
        self.failures: list[dict[str, str]] = []
        self.took_s = 0.0
        self._server = server
        self._count = count
        self._random = Random(seed)
        self._sent = 0
        self._memory: list[float] = []
        self._pid = server.process.pid
        self._before = set(child_pids(self._pid))
        self._descriptors = descriptor_count(self._pid)

    async def all(self) -> None:
        """Run all connections."""
        start = time.monotonic()
        await asyncio.gather(*(self._one_after_another() for _ in range(CONNECTIONS)))
        self.took_s = time.monotonic() - start

    async def _one_after_another(self) -> None:
        while self._sent < self._count:
            self._sent += 1
            if self._sent % max(1, self._count // _SAMPLES) == 0:
                self._memory.append(resident_mb(self._pid))
            asked = conversation(self._random)
            self.kinds[{True: "wrong requests", False: "right requests", None: "changed bytes"}[asked.is_refused]] += 1
            try:
                wrong = fault(asked, await asyncio.wait_for(self._received(asked), _TIMEOUT_S))
            except (OSError, asyncio.TimeoutError) as error:
                wrong = repr(error)
            if wrong:
                self.failures.append({"sent": repr(asked.sent)[:1000], "fault": wrong})

    async def _received(self, asked: Conversation) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        cuts = self._random.choice((0, 0, 1, 3, 8))
        places = sorted({0, len(asked.sent), *(self._random.randrange(len(asked.sent)) for _ in range(cuts))})
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
        stretch = int(len(self._memory) * _STRETCH)
        deadline = time.monotonic() + _TIMEOUT_S
        while (left := descriptor_count(self._pid)) > self._descriptors and time.monotonic() < deadline:
            time.sleep(0.1)
        after = set(child_pids(self._pid))
        return [
            Promise("what is right is answered once and in order, what is wrong is not", f"{len(self.failures)} faults", not self.failures),
            Promise(
                "no process has ended", f"{len(self._before - after)} have", self._before == after and self._server.process.poll() is None
            ),
            Promise("no connection is left open", f"{self._descriptors} -> {left} descriptors", left <= self._descriptors),
            growth_promise("the gateway", self._memory[stretch : 2 * stretch], self._memory[-stretch:]),
        ]


if __name__ == "__main__":
    sys.exit(main())
