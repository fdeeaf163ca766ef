"""Sweep over all combinations to measure, round by round, alternating between the engine alone and the server."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from hubserve.bench import load
from hubserve.bench.load import Pattern, Timing
from hubserve.bench.payloads import Payload
from hubserve.bench.processes import Meter, Usage
from hubserve.bench.recorder import Counted
from hubserve.bench.target import Target
from hubserve.errors import HubError
from hubserve.wire.client_tls import PLAIN_REFUSED


class Step(NamedTuple):
    """Row of the table."""

    batch_size: int
    pattern: Pattern


class Round(NamedTuple):
    """Round of a step; the server's usage is None if it is on another machine."""

    counted: Counted
    usage: Usage | None


class Settings(NamedTuple):
    """Settings of the measurement."""

    patterns: Sequence[Pattern]
    rounds: int
    timing: Timing


class Raw(Protocol):
    """Engine without the server."""

    def __call__(self, batch_size: int) -> float:
        """Measure it; return items per second."""


#: is called before each round with what it is, how many are done, and how many there are
Progress = Callable[[str, int, int], None]


@dataclass
class Measured:
    """Results, filled in as they arrive.

    Attributes:
        rounds: of each step, in the order of the table.
        raw: items a second of the engine alone, by batch size, one for each round.
        raw_left_out: why the engine alone was not measured; "" if it was, or was not asked for.
        notes: what else a reader must know.
        interrupted: whether Ctrl-C ended it early.
    """

    rounds: dict[Step, list[Round]] = field(default_factory=dict)
    raw: dict[int, list[float]] = field(default_factory=dict)
    raw_left_out: str = ""
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False


def check(target: Target, payloads: Sequence[Payload], timeout_s: float) -> None:
    """Send each request once.

    Raises:
        HubError: one is not answered well; with the server's words.
    """
    for payload in payloads:
        failure = load.ask(target.server, payload.request, timeout_s)
        if failure and PLAIN_REFUSED in failure.text:
            raise HubError(
                f"{target.address} is encrypted. Give its port with -p, and --cacert with its authority's certificate, or --https."
            )
        if failure:
            raise HubError(
                f"{target.address} does not answer the payload {payload.kind} with {plural(payload.items, 'item')}: "
                f"{failure.status}: {failure.text}. Nothing was measured."
            )


def sweep(target: Target, payloads: Sequence[Payload], settings: Settings, raw: Raw | None, measured: Measured, progress: Progress) -> None:
    """Measure every combination of payloads and patterns.

    Args:
        target: the served module.
        payloads: one for each batch size.
        settings: what else.
        raw: the engine alone; None to leave it out.
        measured: is filled in; complete rounds only, also when Ctrl-C comes.
        progress: called with the progress.
    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    total = len(payloads) * settings.rounds * (len(settings.patterns) + (raw is not None))
    done = 0
    for payload in payloads:
        for number in range(settings.rounds):
            if raw:
                progress(f"the engine alone, {payload.items} at once", done, total)
                done += 1
                raw = _measure_raw(raw, payload.items, measured)
            for pattern in settings.patterns:
                progress(_describe(payload, pattern), done, total)
                done += 1
                step = Step(payload.items, pattern)
                one = _round(target, payload, pattern, settings.timing, number)
                measured.rounds.setdefault(step, []).append(one)
                if one.counted.failures and not one.counted.latencies_s:
                    measured.notes.append(f"stopped at {_describe(payload, pattern)}: not one request was answered well")
                    return


def _measure_raw(raw: Raw, batch_size: int, measured: Measured) -> Raw | None:
    """Measure the engine alone; return None if it fails, which must not lose the server's results."""
    try:
        measured.raw.setdefault(batch_size, []).append(raw(batch_size))
    except HubError as error:
        measured.raw_left_out = error.message
        return None
    return raw


def _round(target: Target, payload: Payload, pattern: Pattern, timing: Timing, seed: int) -> Round:
    if not target.gateway_pid:
        return Round(load.run(target.server, payload.request, pattern, timing, seed), None)
    meter = Meter(target.gateway_pid)
    counted = load.run(target.server, payload.request, pattern, timing, seed, meter)
    return Round(counted, meter.usage)


def plural(count: int, noun: str) -> str:
    """Return a number with its noun: ``1 connection``, ``2 connections``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _describe(payload: Payload, pattern: Pattern) -> str:
    how = f"{pattern.rate_per_s:g} requests/s" if pattern.rate_per_s else plural(pattern.connections, "connection")
    return f"batch {payload.items}, {how}"
