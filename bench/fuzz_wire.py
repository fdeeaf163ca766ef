"""Fuzz the wire between gateway and instances with mutated frames.

Each is a frame as instances send it, with a few changes to its header, lengths or bytes (``tests/wire_mutations.py``). Each request must be
answered, by the frame or by the end of its instance; no failure may go unnoticed, and memory may not grow.

    python bench/fuzz_wire.py
    python bench/fuzz_wire.py --frames 200000 --seed 7
"""

import argparse
import asyncio
import logging
import os
import sys
import time
from collections import Counter
from random import Random

import uvloop
from stress.processes import descriptor_count, resident_mb
from stress.report import Promise, print_report
from stress.server import add_server_options

from hubserve.wire.arena import Arena
from tests.wire_mutations import exchange, watch_errors

#: share of the run until memory use has settled
_SETTLED = 0.2
#: a leak of one frame in ten would exceed this
_MOST_GROWTH_MB = 32
_SAMPLES = 100
_SHOWN = 10
_TIMEOUT_S = 30.0


def main() -> int:
    """Run, print, and return the exit status."""
    parser = argparse.ArgumentParser(description="mutated frames from instances; ends with 1 if one does harm")
    parser.add_argument("--frames", type=int, default=100_000, help="how many (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the changes (default %(default)s)")
    add_server_options(parser)
    args = parser.parse_args()
    run = _Run(args.frames, args.seed)
    uvloop.run(run.all())
    rows = [{"frames": name, "count": count} for name, count in sorted(run.counts.items())]
    title = f"{args.frames} frames, seed {args.seed}, in {run.seconds:.0f} s"
    return print_report(title, rows, run.judge(), {"errors": run.errors[:_SHOWN]}, as_json=args.json)


class _Run(logging.Handler):
    def __init__(self, frames: int, seed: int) -> None:
        super().__init__(logging.ERROR)
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self.seconds = 0.0
        self._frames = frames
        self._chance = Random(seed)
        self._memory_mb: list[float] = []
        self._descriptors: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what the gateway's side logs as its own failure."""
        self.errors.append(self.format(record))

    async def all(self) -> None:
        """Send every frame."""
        began = time.monotonic()
        watch_errors(asyncio.get_running_loop(), self.errors)
        log = logging.getLogger("hubserve")
        log.addHandler(self)
        log.propagate = False
        arena = Arena.create()
        for number in range(self._frames):
            try:
                ends = await asyncio.wait_for(exchange(number, arena.fd, self._chance), _TIMEOUT_S)
            except Exception as error:
                self.errors.append(f"frame {number}: {error!r}")
                continue
            if len(ends.outcomes) != 1:
                self.errors.append(f"frame {number}: its request was answered {len(ends.outcomes)} times; {ends.broken}")
            self.counts["broken" if ends.broken else "taken for a frame"] += 1
            self.counts[f"requests answered: {len(ends.outcomes)}"] += 1
            if number % max(1, self._frames // _SAMPLES) == 0:
                self._memory_mb.append(resident_mb(os.getpid()))
                self._descriptors.append(descriptor_count(os.getpid()))
        self.seconds = time.monotonic() - began

    def judge(self) -> list[Promise]:
        """Return the promises and the results."""
        answered = self.counts["requests answered: 1"]
        early, late = self._memory_mb[int(len(self._memory_mb) * _SETTLED)], self._memory_mb[-1]
        return [
            Promise("each request is answered exactly once", f"{answered} of {self._frames}", answered == self._frames),
            Promise("nothing fails unseen", self.errors[0][:200] if self.errors else "nothing did", not self.errors),
            Promise(f"memory grows by less than {_MOST_GROWTH_MB} MB", f"{early:.0f} -> {late:.0f} MB", late - early < _MOST_GROWTH_MB),
            Promise(
                "descriptors are given back",
                f"{self._descriptors[0]} -> {self._descriptors[-1]}",
                self._descriptors[-1] <= self._descriptors[0] + 2,
            ),
        ]


if __name__ == "__main__":
    sys.exit(main())
