"""Fuzz the wire between gateway and instances with mutated frames.

Each is a frame as instances send it, with a few changes to its header, lengths or bytes (``tests/wire_mutations.py``). Each request must be
answered, by the frame or by the end of its instance; no failure may go unnoticed, and memory may not grow.

    python bench/fuzz_wire.py
    python bench/fuzz_wire.py --frames 200000 --seed 7
"""

import asyncio
import logging
import os
import sys

import uvloop
from stress.fuzz_run import SHOWN, FuzzRun, parse_options
from stress.report import Promise, print_report

from hubserve.wire.arena import Arena
from tests.wire_mutations import exchange, watch_errors

#: share of the run until memory use has settled
_SETTLED = 0.2
#: a leak of one frame in ten would exceed this
_MOST_GROWTH_MB = 32
_SAMPLES = 100
_TIMEOUT_S = 30.0


def main() -> int:
    """Run, print, and return the exit status."""
    args = parse_options("mutated frames from instances", 100_000, "--frames")
    run = _Run(args.count, args.seed)
    uvloop.run(run.all())
    rows = [{"frames": name, "count": count} for name, count in sorted(run.outcomes.items())]
    title = f"{args.count} frames, seed {args.seed}, in {run.took_s:.0f} s"
    return print_report(title, rows, run.judge(), {"errors": run.errors[:SHOWN]}, as_json=args.json)


class _Run(FuzzRun):
    def __init__(self, frames: int, seed: int) -> None:
        super().__init__(os.getpid(), frames, seed, senders=1, samples=_SAMPLES)
        self.errors: list[str] = []
        self._arena = Arena.create()

    async def all(self) -> None:
        """Send every frame; the errors that the gateway's side logs count as failures, too."""
        watch_errors(asyncio.get_running_loop(), self.errors)
        log = logging.getLogger("hubserve")
        log.addHandler(_Collector(self.errors))
        log.propagate = False
        await super().all()

    async def send(self) -> None:
        """Exchange one frame."""
        try:
            ends = await asyncio.wait_for(exchange(self.sent, self._arena.fd, self.random), _TIMEOUT_S)
        except Exception as error:
            self.errors.append(f"frame {self.sent}: {error!r}")
            return
        if len(ends.outcomes) != 1:
            self.errors.append(f"frame {self.sent}: its request was answered {len(ends.outcomes)} times; {ends.broken}")
        self.outcomes["broken" if ends.broken else "taken for a frame"] += 1
        self.outcomes[f"requests answered: {len(ends.outcomes)}"] += 1

    def judge(self) -> list[Promise]:
        """Compare the results with the promises."""
        answered = self.outcomes["requests answered: 1"]
        early, late = self.memory_mb[int(len(self.memory_mb) * _SETTLED)], self.memory_mb[-1]
        return [
            Promise("each request is answered exactly once", f"{answered} of {self.count}", answered == self.count),
            Promise("nothing fails unseen", self.errors[0][:200] if self.errors else "nothing did", not self.errors),
            Promise(f"memory grows by less than {_MOST_GROWTH_MB} MB", f"{early:.0f} -> {late:.0f} MB", late - early < _MOST_GROWTH_MB),
            Promise(
                "descriptors are given back",
                f"{self.descriptors[0]} -> {self.descriptors[-1]}",
                self.descriptors[-1] <= self.descriptors[0] + 2,
            ),
        ]


class _Collector(logging.Handler):
    def __init__(self, errors: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._errors = errors

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record's text."""
        self._errors.append(self.format(record))


if __name__ == "__main__":
    sys.exit(main())
