"""Measure the time and outputs of engines, each in its own process, in turns, for :mod:`hubserve.engines.selection`."""

import os
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Dict, Generator, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from hubserve.engines.base import EngineOptions, ModelFiles, options_of
from hubserve.engines.file_cache import locked
from hubserve.engines.machine_load import load_between, used
from hubserve.engines.subprocess_call import Conversation
from hubserve.engines.synthetic_batch import make_sample
from hubserve.engines.table import engine_class
from hubserve.errors import HubError, InvalidInput
from hubserve.paths import cache_dir
from hubserve.types import ANY, TensorSpec

#: for all batch sizes and rounds of one engine together
BUDGET_S = 1.5
#: of all engines, so that what else the machine does meets them all
ROUNDS = 5
#: a larger batch that would take longer than this for one run is not measured
LONGEST_RUN_S = 3.0
#: of one size in one round
MOST_RUNS = 30
_TIMEOUT_S = 900.0
#: an engine's copy of a model takes up to this many times the size of its files
_TIMES_FILES = 6
Arrays = Dict[str, np.ndarray]


class Took(NamedTuple):
    """One run, in seconds: ``wall`` by the clock, ``processor`` of all threads together."""

    wall: float
    processor: float


class Measured(NamedTuple):
    """Measurements of one engine.

    Attributes:
        answers: one array per output.
        ms_per_item: by batch size, in milliseconds of the clock that counts; empty if none was asked for.
        processor_ms: of all threads, by batch size, in milliseconds.
    """

    answers: Sequence[np.ndarray]
    ms_per_item: Dict[int, float]
    processor_ms: Dict[int, float]


Outcome = Union[Measured, HubError]


class Session:
    """One engine that has loaded a model, in a process of its own.

    Args:
        engine: its name.
        files: the model.
        options: how to run the model.
        folder: keeps the made-up batch, so that all engines that are given this folder answer the same one.
        sizes: the batch sizes to time; if empty, only the answers are computed.
    Raises:
        HubError: the engine cannot load the model or compute the batch, or its process crashed or ran out of time.
    """

    def __init__(self, engine: str, files: ModelFiles, options: EngineOptions, folder: Path, sizes: Sequence[int]) -> None:
        graph, weights = str(files.graph), str(files.weights) if files.weights else None
        self._output = folder / f"{engine}-answers.npz"
        self._by_wall = options.cpu_num_threads > 1
        arguments = [engine, graph, weights, list(options), str(folder / "sample.npz"), str(self._output), list(sizes)]
        self._child = Conversation(f"{__name__}:serve_here", arguments, _TIMEOUT_S)
        try:
            about = self._child.answer()
        except BaseException:
            self._child.close()
            raise
        #: batch size -> its best run of each kind
        self.best: Dict[int, Took] = {int(size): Took(*took) for size, took in about["done"].items()}
        #: those to be timed in rounds, smallest first
        self.sizes: List[int] = about["sizes"]
        #: processor time of everything that was timed
        self.processor_s = 0.0

    def close(self) -> None:
        """End its process."""
        self._child.close()

    def time(self, size: int, budget_s: float) -> None:
        """Time runs of one size for about the given time; one that would take too long is left out.

        Raises:
            HubError: as the class.
        """
        if size not in self.best:
            expected_s = size * min((took.wall / done for done, took in self.best.items()), default=0.0)
            if expected_s > LONGEST_RUN_S:
                return
        wall, processor, used_s = self._child.ask([size, budget_s])
        before = self.best.get(size, Took(wall, processor))
        self.best[size] = Took(min(wall, before.wall), min(processor, before.processor))
        self.processor_s += used_s

    def measured(self) -> Measured:
        """Return the measurements.

        With one thread, processor time counts: it is what a core spends on an item, whatever else the machine does. With several, the
        clock counts: how well the threads share the work is seen in it alone.
        """
        with np.load(str(self._output), allow_pickle=False) as loaded:
            answers = [loaded[f"arr_{index}"] for index in range(len(loaded.files))]
        per_item = {size: (_ms(took.wall, size), _ms(took.processor, size)) for size, took in sorted(self.best.items())}
        which = 0 if self._by_wall else 1
        return Measured(answers, {size: each[which] for size, each in per_item.items()}, {size: each[1] for size, each in per_item.items()})


def _ms(seconds: float, size: int) -> float:
    return round(seconds * 1000 / size, 6)


def measure_in_child(engine: str, files: ModelFiles, options: EngineOptions, folder: Path, sizes: Sequence[int]) -> Measured:
    """Compute the synthetic batch with one engine, and time it alone; arguments and errors as of :class:`Session`."""
    outcomes, _ = measure_all([engine], files, options, folder, sizes)
    outcome = outcomes[engine]
    if isinstance(outcome, HubError):
        raise outcome
    return outcome


def measure_all(
    engines: Sequence[str],
    files: ModelFiles,
    options: EngineOptions,
    folder: Path,
    sizes: Sequence[int],
    rounds: int = ROUNDS,
    begins: Optional[Callable[[str], None]] = None,
) -> Tuple[Dict[str, Outcome], Dict[str, Any]]:
    """Compute the synthetic batch with several engines, and time them in turns.

    Args:
        engines: their names.
        files: the model.
        options: how to run it.
        folder: as of :class:`Session`.
        sizes: as of :class:`Session`.
        rounds: how often each has its turn, if that is not too slow.
        begins: called with the name of each engine before it loads the model.
    Returns:
        Engine -> its measurement, or the reason of its failure; and the machine's other load meanwhile, see
        :func:`~hubserve.engines.machine_load.load_between`.
    """
    together = _fit_together(files, len(engines))
    outcomes: Dict[str, Outcome] = {}
    loads: List[Dict[str, Any]] = []
    for group in [list(engines)] if together else [[engine] for engine in engines]:
        sessions: Dict[str, Session] = {}
        try:
            for engine in group:
                if begins:
                    begins(engine)
                try:
                    sessions[engine] = Session(engine, files, options, folder, sizes)
                except HubError as error:
                    outcomes[engine] = error
            loads.append(_take_turns(sessions, rounds, outcomes))
            outcomes.update({engine: session.measured() for engine, session in sessions.items() if engine not in outcomes})
        finally:
            for session in sessions.values():
                session.close()
    return {engine: outcomes[engine] for engine in engines}, max(loads, key=lambda load: (load["busy"], load["others_cores"] or 0))


def _take_turns(sessions: Dict[str, Session], rounds: int, failed: Dict[str, Outcome]) -> Dict[str, Any]:
    """Time engines in rounds; one that fails is put into ``failed`` and left out from then on."""
    with _alone():
        before, start = used(), time.perf_counter()
        for number in range(rounds):
            order = list(sessions)
            order = order[number % max(1, len(order)) :] + order[: number % max(1, len(order))]
            for place in range(max((len(each.sizes) for each in sessions.values()), default=0)):
                for engine in order:
                    session = sessions[engine]
                    if engine in failed or place >= len(session.sizes):
                        continue
                    try:
                        session.time(session.sizes[place], BUDGET_S / ROUNDS / len(session.sizes))
                    except HubError as error:
                        failed[engine] = error
            if time.perf_counter() - start > BUDGET_S * len(sessions) * rounds / ROUNDS:
                break
        own_s = sum(session.processor_s for session in sessions.values())
        return load_between(before, used(), own_s, time.perf_counter() - start, os.cpu_count() or 1)


def _fit_together(files: ModelFiles, engines: int) -> bool:
    """Return True if there is memory for all engines to have the model loaded at once."""
    size = sum(each.stat().st_size for path in files if path is not None for each in [path, *path.rglob("*")] if each.is_file())
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        return True
    return size * _TIMES_FILES * engines < free


def serve_here(
    engine: str, graph: str, weights: Optional[str], options: List[Any], sample: str, output: str, sizes: List[int]
) -> Generator[Any, Any, None]:
    """Run in the child: save the answers to ``output``, then time runs of the sizes that the parent asks for.

    It yields ``{"done", "sizes"}`` first: what is measured already, and what can be; then, for each ``[size, budget_s]`` that it is sent,
    what :func:`run_round` returns.
    """
    rebuilt = options_of(options)
    loaded = engine_class(engine)(ModelFiles(Path(graph), Path(weights) if weights else None), rebuilt)
    inputs = _sample(Path(sample), loaded.inputs, rebuilt.sample_shape)
    start, start_processor = time.perf_counter(), time.process_time()
    answers = loaded.run(inputs)
    first = Took(time.perf_counter() - start, time.process_time() - start_processor)
    np.savez(output, *answers)
    batch = (*np.shape(next(iter(inputs.values()))), 1)[0]
    if any(spec.shape[:1] != (ANY,) for spec in loaded.inputs):
        batches = {batch: inputs}
    else:
        batches = {size: {name: _resized(array, size) for name, array in inputs.items()} for size in sizes}
    if not sizes or first.wall > BUDGET_S:  # so slow that its first run is its measurement
        yield {"done": {str(batch): first} if sizes else {}, "sizes": []}
        return
    size, budget_s = yield {"done": {}, "sizes": list(batches)}
    while True:
        size, budget_s = yield run_round(lambda: loaded.run(batches[size]), budget_s)  # noqa: B023 - called at once


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other models' engines from being timed at the same moment; a home that cannot be written does without."""
    with ExitStack() as held:
        with suppress(OSError):
            held.enter_context(locked(cache_dir() / "engines" / "timing"))
        yield


def run_round(
    run: Callable[[], object],
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
    processor: Callable[[], float] = time.process_time,
) -> Tuple[float, float, float]:
    """Time runs of one batch.

    The first run is left out, as it finds caches that other engines have used, unless it takes most of the time that there is.

    Args:
        run: computes the batch.
        budget_s: for all runs, but for one.
        clock: gives seconds.
        processor: gives seconds of this process's threads.
    Returns:
        The shortest run by the clock; a run's processor time on average; the processor time of all runs.
    """
    start, start_processor = clock(), processor()
    run()
    first = Took(clock() - start, processor() - start_processor)
    if 2 * first.wall > budget_s:
        return (*first, first.processor)
    walls: List[float] = []
    counted_from = processor()
    while len(walls) < MOST_RUNS:
        before = clock()
        run()
        after = clock()
        walls.append(after - before)
        if after + walls[-1] > start + budget_s:
            break
    end = processor()
    return min(walls), (end - counted_from) / len(walls), end - start_processor


def _sample(path: Path, specs: Sequence[TensorSpec], item_shape: Sequence[int]) -> Arrays:
    """Return the batch that all engines compute: made by the first of them that loads the model."""
    if not path.exists():
        made = make_sample(specs, item_shape)
        texts = [name for name, array in made.items() if array.dtype == object]
        if texts:  # they would be pickled
            raise InvalidInput(f"its input '{texts[0]}' has texts, and engines are compared with numbers only")
        np.savez(str(path), np.array([*made]), *made.values())
    with np.load(str(path), allow_pickle=False) as saved:
        inputs = {str(name): saved[f"arr_{index + 1}"] for index, name in enumerate(saved["arr_0"])}
    if not inputs:
        raise InvalidInput("the model takes no inputs")
    return inputs


def _resized(array: np.ndarray, size: int) -> np.ndarray:
    """Return ``size`` items: the array's own, repeated."""
    return np.ascontiguousarray(array[np.arange(size) % len(array)])
