"""How long an engine takes, and what it answers: the work of one child process of :mod:`hubserve.engines.selection`."""

import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np

from hubserve.engines import engine_class
from hubserve.engines.base import EngineOptions, ModelFiles
from hubserve.engines.cache import locked
from hubserve.engines.child import call_in_child
from hubserve.engines.sample import make_sample
from hubserve.errors import InvalidInput
from hubserve.home import cache_dir
from hubserve.types import ANY, TensorSpec

#: for all batch sizes of one engine together
BUDGET_S = 1.5
#: a larger batch that would take longer than this for one run is not measured
LONGEST_RUN_S = 3.0
MOST_RUNS = 30
#: of the runs at one size that come before those that count
_WARM_UP = 0.2
_TIMEOUT_S = 900.0
Arrays = Dict[str, np.ndarray]


class Measured(NamedTuple):
    """Attributes: ``answers``, one array per output; ``ms_per_item`` by batch size, empty where none was asked for."""

    answers: Sequence[np.ndarray]
    ms_per_item: Dict[int, float]


def measure_in_child(engine: str, files: ModelFiles, options: EngineOptions, folder: Path, sizes: Sequence[int]) -> Measured:
    """Have an engine answer the made-up batch and time it, in a process of its own.

    Args:
        engine: its name.
        files: the model.
        options: how the model is to be run.
        folder: keeps the made-up batch, so that all engines that are given this folder answer the same one.
        sizes: the batch sizes to time; none: the answers alone are wanted.
    Raises:
        HubError: the engine cannot load the model or compute the batch, or its process crashed or ran out of time.
    """
    graph, weights = str(files.graph), str(files.weights) if files.weights else None
    output = folder / f"{engine}-answers.npz"
    arguments = [engine, graph, weights, list(options), str(folder / "sample.npz"), str(output), list(sizes)]
    seconds = call_in_child(f"{__name__}:measure_here", arguments, _TIMEOUT_S)
    with np.load(str(output), allow_pickle=False) as loaded:
        answers = [loaded[f"arr_{index}"] for index in range(len(loaded.files))]
    return Measured(answers, {int(size): round(each_s * 1000 / int(size), 6) for size, each_s in seconds.items()})


def measure_here(
    engine: str, graph: str, weights: Optional[str], options: List[Any], sample: str, output: str, sizes: List[int]
) -> Dict[str, float]:
    """What the child does: save the answers to ``output``, and return the seconds that a run takes at each size."""
    loaded = engine_class(engine)(ModelFiles(Path(graph), Path(weights) if weights else None), EngineOptions(*options))
    inputs = _sample(Path(sample), loaded.inputs, EngineOptions(*options).sample_shape)
    start = time.perf_counter()
    answers = loaded.run(inputs)
    first_s = time.perf_counter() - start
    np.savez(output, *answers)
    if not sizes:
        return {}
    batch = (*np.shape(next(iter(inputs.values()))), 1)[0]
    if first_s > BUDGET_S:
        return {str(batch): first_s}  # so slow that its first run is its measurement
    if any(spec.shape[:1] != (ANY,) for spec in loaded.inputs):
        batches = {batch: inputs}
    else:
        batches = {size: {name: _resized(array, size) for name, array in inputs.items()} for size in sizes}
    with _alone():
        seconds = run_seconds(lambda size: loaded.run(batches[size]), list(batches))
    return {str(size): each_s for size, each_s in seconds.items()}


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other models' engines from being timed at the same moment; a home that cannot be written does without."""
    with ExitStack() as held:
        with suppress(OSError):
            held.enter_context(locked(cache_dir() / "engines" / "timing"))
        yield


def run_seconds(
    run: Callable[[int], object], sizes: Sequence[int], budget_s: float = BUDGET_S, clock: Callable[[], float] = time.perf_counter
) -> Dict[int, float]:
    """Time runs at several batch sizes.

    Args:
        run: computes one batch of the size that it is given.
        sizes: smallest first; the first is measured in any case, a larger one only if one run is expected to be short enough.
        budget_s: for all of them; a size whose first run takes longer is measured by that run alone.
        clock: gives seconds.
    Returns:
        Size to the median of its runs, in seconds, those of the warm-up left out.
    """
    seconds: Dict[int, float] = {}
    end = clock() + budget_s
    for position, size in enumerate(sizes):
        expected_s = size * min((each_s / done for done, each_s in seconds.items()), default=0.0)
        if expected_s <= LONGEST_RUN_S:
            seconds[size] = _median_s(lambda: run(size), (end - clock()) / (len(sizes) - position), clock)  # noqa: B023 - called at once
    return seconds


def _median_s(run: Callable[[], object], budget_s: float, clock: Callable[[], float]) -> float:
    start = clock()
    durations: List[float] = []
    while len(durations) < MOST_RUNS:
        before = clock()
        run()
        after = clock()
        durations.append(after - before)
        if after + durations[-1] > start + budget_s:
            break
    warm_up = max(1, int(len(durations) * _WARM_UP))
    return median(durations[warm_up:] or durations)


def _sample(path: Path, specs: Sequence[TensorSpec], item_shape: Sequence[int]) -> Arrays:
    """The batch that all engines are given: made by the first of them that loads the model."""
    if not path.exists():
        made = make_sample(specs, item_shape)
        np.savez(str(path), np.array([*made]), *made.values())
    with np.load(str(path), allow_pickle=False) as saved:
        inputs = {str(name): saved[f"arr_{index + 1}"] for index, name in enumerate(saved["arr_0"])}
    if not inputs:
        raise InvalidInput("the model takes no inputs")
    return inputs


def _resized(array: np.ndarray, size: int) -> np.ndarray:
    """``size`` items, the array's own again and again."""
    return np.ascontiguousarray(array[np.arange(size) % len(array)])
