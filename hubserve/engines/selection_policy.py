"""Decide between engines by their measurements. Arithmetic alone: :mod:`hubserve.engines.selection` makes the comparison."""

import math
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from hubserve.engines.parity import TOLERANCE
from hubserve.engines.selection_cache import Verdict

#: An engine up to this much slower than the fastest is taken if it comes before it, so that noise does not change the choice.
TIE = 1.05


class Trial(NamedTuple):
    """Measurements of one engine.

    Attributes:
        engine: its name.
        ms_per_item: batch size -> milliseconds for one item in a batch of that size.
        difference: the largest absolute one between its answers and the reference's; None where they were not compared.
        left_out: why it must not be taken; "" where it may be.
        lasting: whether the same would be found again.
        processor_ms: batch size -> milliseconds of processor time for one item, where ``ms_per_item`` is by the clock.
    """

    engine: str
    ms_per_item: Mapping[int, float] = MappingProxyType({})
    difference: Optional[float] = None
    left_out: str = ""
    lasting: bool = True
    processor_ms: Mapping[int, float] = MappingProxyType({})

    @property
    def best_ms(self) -> float:
        """Time per item at its best batch size: requests are merged or split to it."""
        return min(self.ms_per_item.values())

    @property
    def least_processor_ms(self) -> float:
        """Processor time per item at its best batch size; 0 where only one time is known."""
        return min(self.processor_ms.values(), default=0.0)


def decide(trials: Sequence[Trial], reference: str, threads: int, date: str) -> Verdict:
    """Take the fastest engine that agrees with the reference.

    Args:
        trials: of every engine that was tried, in their order of preference.
        reference: the engine whose answers the others were compared with; it is taken if none may be.
        threads: that each call computed with.
        date: when it was measured, ISO 8601.
    """
    usable = [trial for trial in trials if not trial.left_out]
    lasting = all(trial.lasting for trial in trials)
    if not usable:
        return Verdict(reference, f"auto: {reference}, the reference, as none could be taken{_but(trials)}", lasting)
    fastest_ms = min(trial.best_ms for trial in usable)
    tied = [trial for trial in usable if trial.best_ms <= fastest_ms * TIE]
    # of engines that are equally fast by the clock, one that leaves other instances more of the cores
    winner = next(trial for trial in tied if trial.least_processor_ms <= min(each.least_processor_ms for each in tied) * TIE)
    beside = _beside(winner, usable, reference)
    reason = (
        f"auto: {winner.engine}, {ms_text(winner.best_ms)} ms per item at best{f' ({beside})' if beside else ''}, "
        f"measured {date} with {threads} thread{'' if threads == 1 else 's'}{_but(trials)}"
    )
    return Verdict(winner.engine, reason, lasting, _record(trials, reference, threads, date))


def is_close(trials: Sequence[Trial]) -> bool:
    """Return True if the fastest two eligible engines are within :data:`TIE` of each other."""
    best = sorted(trial.best_ms for trial in trials if not trial.left_out)
    return len(best) > 1 and best[1] <= best[0] * TIE


def ms_text(ms: float) -> str:
    """Format milliseconds for people: ``9.4``, ``124``, ``0.012``."""
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 1 else f"{ms:.2g}"


def _beside(winner: Trial, usable: Sequence[Trial], reference: str) -> str:
    others = [trial for trial in usable if trial is not winner]
    facts: List[str] = []
    if others:
        facts.append(", ".join(f"{trial.engine} {ms_text(trial.best_ms)}" for trial in others))
    if any(trial.best_ms < winner.best_ms for trial in others):
        facts.append(f"within {TIE - 1:.0%} the first of {', '.join(trial.engine for trial in usable)} is taken")
    if others or winner.engine != reference:
        who = "all agree" if others else f"it agrees with {reference}"
        facts.append(f"{who} within {max(trial.difference or 0.0 for trial in usable):.1e}")
    if others and all(trial.engine != "paddle" for trial in usable):
        facts[-1] += f", compared with {reference}"
    return "; ".join(facts)


def _but(trials: Sequence[Trial]) -> str:
    return "".join(f"; not {trial.engine}: {trial.left_out.rstrip('.')}" for trial in trials if trial.left_out)


def _record(trials: Sequence[Trial], reference: str, threads: int, date: str) -> Dict[str, Any]:
    return {
        "date": date,
        "threads": threads,
        "reference": reference,
        "tolerance": TOLERANCE,
        "engines": {trial.engine: _figures(trial) for trial in trials},
    }


def _figures(trial: Trial) -> Dict[str, Any]:
    figures: Dict[str, Any] = {"ms_per_item": {str(size): ms for size, ms in trial.ms_per_item.items()}}
    if trial.processor_ms:
        figures["processor_ms"] = {str(size): ms for size, ms in trial.processor_ms.items()}
    if trial.difference is not None:  # JSON has no NaN
        figures["difference"] = trial.difference if math.isfinite(trial.difference) else None
    return {**figures, "left_out": trial.left_out} if trial.left_out else figures
