"""Compute JSON requests together, for modules that ask for it."""

import time
from functools import partial
from typing import Any, List, Sequence, Tuple

from hubserve.errors import HubError, ModuleFailed
from hubserve.instance.frame_results import FrameResults
from hubserve.instance.guard import guarded
from hubserve.kinds.base import LoadedModule

#: the position of a call in its frame, and its JSON value
_Call = Tuple[int, Any]


def compute_jsons(module: LoadedModule, calls: Sequence[_Call], sizes: Sequence[int], most: int, results: FrameResults) -> None:
    """Answer the JSON calls of a frame; a batch that fails is halved until the failing call is alone.

    Args:
        module: with ``description.merges_json``.
        calls: at least one.
        sizes: how many calls to compute together, one number for each batch; other sizes are chosen if these do not fit.
        most: the most calls of one batch.
        results: gets the answers.
    """
    fits = sum(sizes) == len(calls) and max(sizes, default=0) <= most
    start = 0
    for size in sizes if fits else _sizes(len(calls), most):
        _compute(module, calls[start : start + size], results)
        start += size


def _sizes(count: int, most: int) -> List[int]:
    return [min(most, count - start) for start in range(0, count, most)]


def _compute(module: LoadedModule, calls: Sequence[_Call], results: FrameResults) -> None:
    began = time.perf_counter()
    try:
        answers = guarded(partial(_call, module, calls))
    except HubError as error:
        if len(calls) == 1 or results.once:
            for position, _ in calls:
                results.put_error(position, error)
            return
        middle = len(calls) // 2
        _compute(module, calls[:middle], results)
        _compute(module, calls[middle:], results)
        return
    took_s = time.perf_counter() - began
    results.times.append((len(calls), took_s))
    results.calls_s += took_s
    for (position, _), answer in zip(calls, answers):
        try:
            guarded(partial(results.put_json, position, answer))
        except HubError as error:
            results.put_error(position, error)


def _call(module: LoadedModule, calls: Sequence[_Call]) -> List[Any]:
    answers = module.call_jsons([value for _, value in calls])
    if not isinstance(answers, (list, tuple)) or len(answers) != len(calls):
        got = f"a list of {len(answers)}" if isinstance(answers, (list, tuple)) else type(answers).__name__
        raise ModuleFailed(
            f"{len(calls)} requests were computed together, and the module returned {got}: return a list with one answer for each"
        )
    return list(answers)
