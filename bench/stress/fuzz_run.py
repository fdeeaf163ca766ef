"""Base of the fuzzers: send inputs, sample the process under test, and compare its state with the promises."""

import argparse
import asyncio
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from stress.processes import child_pids, descriptor_count, resident_mb
from stress.report import Promise, growth_promise
from stress.server import Server, add_server_options, running_server
from tests.v2_mutations import calm_modules

#: failures that a report shows
SHOWN = 10
#: the share of the memory samples that is compared with the last ones, after as many in which memory settles
_STRETCH = 0.2
#: the server sees that a client has left only when it looks
_CLOSING_S = 30.0


def parse_options(inputs: str, count: int, option: str = "--count") -> argparse.Namespace:
    """Parse a fuzzer's command line.

    Args:
        inputs: description of the inputs.
        count: default number of inputs.
        option: option that sets ``count``.
    """
    parser = argparse.ArgumentParser(description=f"{inputs}; exits with 1 if one does harm")
    parser.add_argument(option, dest="count", type=int, default=count, metavar="N", help="how many (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the random changes (default %(default)s)")
    add_server_options(parser)
    return parser.parse_args()


@contextmanager
def server_under_test(log: Path | None, **settings: Any) -> Iterator[Server]:
    """Run a server of modules that survive every valid request; ``log`` receives a copy of its log."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "modules").mkdir()
        with running_server(calm_modules(folder / "modules"), folder=folder, log=log, max_body_bytes=1 << 20, **settings) as server:
            yield server


class FuzzRun(ABC):
    """Inputs sent by several senders at once, and their effects on one process.

    Args:
        pid: the process under test.
        count: number of inputs.
        seed: of the random changes.
        senders: number of inputs on their way at once.
        samples: number of samples of memory and descriptors.

    Attributes:
        outcomes: number of inputs by how they ended.
        failures: inputs that did harm.
        took_s: duration of the run in seconds.
    """

    def __init__(self, pid: int, count: int, seed: int, *, senders: int, samples: int = 200) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failures: list[dict[str, str]] = []
        self.took_s = 0.0
        self.pid, self.count, self.sent = pid, count, 0
        self.random = Random(seed)
        self.memory_mb: list[float] = []
        self.descriptors: list[int] = []
        self._senders = senders
        self._sample_every = max(1, count // samples)
        self._children = set(child_pids(pid))
        self._descriptors_before = descriptor_count(pid)

    @abstractmethod
    async def send(self) -> None:
        """Send one input and record how it ended."""

    async def all(self) -> None:
        """Send all inputs."""
        start = time.monotonic()
        await asyncio.gather(*(self._send_one_after_another() for _ in range(self._senders)))
        self.took_s = time.monotonic() - start

    async def _send_one_after_another(self) -> None:
        while self.sent < self.count:
            self.sent += 1
            if self.sent % self._sample_every == 0:
                self.memory_mb.append(resident_mb(self.pid))
                self.descriptors.append(descriptor_count(self.pid))
            await self.send()

    def processes_promise(self, *, may_start: bool = False) -> Promise:
        """Return the promise that no process has ended; none has started either, unless they may."""
        after = set(child_pids(self.pid))
        kept = self._children <= after if may_start else self._children == after
        return Promise("no process has ended", f"{len(self._children - after)} have", kept and resident_mb(self.pid) > 0)

    def descriptors_promise(self, *, spare: int = 0) -> Promise:
        """Return the promise that all connections but a few spare ones are closed in the end."""
        most, deadline = self._descriptors_before + spare, time.monotonic() + _CLOSING_S
        while (left := descriptor_count(self.pid)) > most and time.monotonic() < deadline:
            time.sleep(0.1)
        return Promise("no connection is left open", f"{self._descriptors_before} -> {left} descriptors", left <= most)

    def memory_promise(self) -> Promise:
        """Return the promise that memory has not grown since it settled."""
        stretch = int(len(self.memory_mb) * _STRETCH)
        return growth_promise("the gateway", self.memory_mb[stretch : 2 * stretch], self.memory_mb[-stretch:])
