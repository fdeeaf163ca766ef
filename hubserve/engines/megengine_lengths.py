"""Find out which lengths of a MegEngine network may vary, by computing: its file has those that it was traced with, and no others.

A length is open only if the network was seen to compute with others. The first one is the batch if each item's answer is the same
alone and beside another item. Inner lengths are tried where clients are expected to vary them: height and width of pictures, and what
a configuration leaves open.

It is found out once for each file, in a process of its own: some damaged files, and perhaps some lengths, end the process that tries
them, and memory for the largest batch stays with a process.
"""

import json
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from hubserve.engines.base import EngineOptions, ModelFiles, Signature
from hubserve.engines.failures import loading
from hubserve.engines.file_cache import locked, note_origin, write_text
from hubserve.engines.megengine_network import Network
from hubserve.engines.model_files import digest
from hubserve.engines.pytorch_program import place_in_name
from hubserve.engines.subprocess_call import ChildFailed, Conversation
from hubserve.errors import LoadFailed
from hubserve.paths import cache_dir
from hubserve.types import ANY, TensorSpec, specs_from_json, specs_to_json

#: computes one batch
Compute = Callable[[Mapping[str, np.ndarray]], List[np.ndarray]]
#: input -> the axes whose lengths are tried
Axes = Mapping[str, Set[int]]

_PICTURE_RANKS = (3, 4)
_CHANNELS = 3
#: answers of one item alone and in a batch differ by rounding only; relative to the largest number of an answer
_TOLERANCE = 1e-3
#: for a large network on a busy machine
_TIMEOUT_S = 120.0
_FOLDER = "megengine"
#: part of the name of what is kept; raised where the trials change
_SCHEMA = "1"

Specs = Tuple[List[TensorSpec], List[TensorSpec]]


def find_signature(files: ModelFiles, options: EngineOptions, version: str) -> Specs:
    """Return the inputs and outputs of a file, with :data:`~hubserve.types.ANY` for the lengths that may vary.

    Args:
        files: the model.
        options: how it is computed; the inner lengths that ``signature`` leaves open are tried, too.
        version: of MegEngine.
    Raises:
        LoadFailed: the file cannot be loaded.
    """
    wished = [each.to_json() for each in options.signature.inputs] if options.signature else []
    path = cache_dir() / _FOLDER / f"{digest(files, _SCHEMA, version, str(options.use_gpu), json.dumps(wished))}.json"
    with ExitStack() as held:
        with suppress(OSError):  # a cache that cannot be written: it is found out at each start
            held.enter_context(locked(path))
        known = _read(path)
        if known is None:
            known, is_lasting = _found_in_child(files, options, wished)
            if is_lasting:
                with suppress(OSError):
                    write_text(path, json.dumps([specs_to_json(side) for side in known]))
        note_origin(path, files.graph)
    return known


def _read(path: Path) -> Optional[Specs]:
    try:
        inputs, outputs = json.loads(path.read_text(encoding="utf-8"))
        return specs_from_json(inputs), specs_from_json(outputs)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _found_in_child(files: ModelFiles, options: EngineOptions, wished: List[Dict[str, Any]]) -> Tuple[Specs, bool]:
    """Return inputs and outputs, and whether the same would be found again."""
    arguments = [str(files.graph), options.cpu_num_threads, options.use_gpu, wished]
    with Conversation(f"{__name__}:answer_from_child", arguments, _TIMEOUT_S) as child:
        try:
            inputs, outputs = map(specs_from_json, child.answer())
        except ChildFailed as error:
            raise LoadFailed(
                f"'{files.graph}' is damaged, or needs more memory than there is: MegEngine was loading it when {error.message}. Dump or "
                "copy the model again.",
                error.detail,
            ) from error
        is_lasting = True
        for step in ("batch", "lengths"):
            try:
                inputs, outputs = map(specs_from_json, child.ask(step))
            except ChildFailed as error:  # the network does not take other lengths
                is_lasting = error.lasting
                break
    return (inputs, outputs), is_lasting


def answer_from_child(graph: str, threads: int, use_gpu: bool, wished: List[Dict[str, Any]]) -> Iterator[Any]:
    """Yield a file's inputs and outputs as it was traced, then with an open batch, then with all open lengths; as JSON."""
    files = ModelFiles(Path(graph), None)
    with loading("megengine", files):
        network = Network(files.graph, threads, use_gpu)
    search = _Search(network.inputs, network.outputs, network.compute)
    signature = Signature(specs_from_json(wished), ()) if wished else None
    yield _as_json(network.inputs, network.outputs)
    is_batched = search.has_batch()
    yield _as_json(*_all_opened(network.inputs, network.outputs, is_batched))
    yield _as_json(*open_lengths(search, is_batched, wished_axes(network.inputs, signature)))


def _as_json(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> List[Any]:
    return [specs_to_json(inputs), specs_to_json(outputs)]


class _Trial(NamedTuple):
    """Lengths to try on the axes of a network.

    Attributes:
        vary: gives another length for each.
        axes: input -> its axes.
    """

    vary: Callable[[int], int]
    axes: Axes


def is_picture(spec: TensorSpec) -> bool:
    """Return True for the shape of decoded pictures: uint8 with the three channels last, with or without a batch."""
    return spec.dtype == "uint8" and len(spec.shape) in _PICTURE_RANKS and spec.shape[-1] == _CHANNELS


def wished_axes(inputs: Sequence[TensorSpec], signature: Optional[Signature]) -> Axes:
    """Return the inner axes that a configuration leaves open, by input.

    Args:
        inputs: the file's.
        signature: from the configuration, if it has one; its inputs correspond to the file's by name or by place.
    """
    wished: Dict[str, Set[int]] = {}
    for given in signature.inputs if signature else ():
        place = place_in_name(given.name)
        by_place = inputs[place].name if place is not None and place < len(inputs) else ""
        for spec in inputs:
            if spec.name == given.name or (spec.name == by_place and given.name not in [each.name for each in inputs]):
                ends_alike = range(1, min(len(spec.shape), len(given.shape)) + 1)  # a configuration may lack the batch
                axes = {len(spec.shape) - back for back in ends_alike if given.shape[-back] == ANY}
                wished[spec.name] = axes - {0}
    return wished


def open_lengths(search: "_Search", is_batched: bool, wished: Axes) -> Specs:
    """Return a network's inputs and outputs with :data:`~hubserve.types.ANY` for the lengths that may vary.

    Args:
        search: tries lengths.
        is_batched: whether the first dimension is the batch.
        wished: input -> the axes that a configuration leaves open.
    """
    inputs, outputs = search.inputs, search.outputs
    pictures = {spec.name: {len(spec.shape) - 3, len(spec.shape) - 2} for spec in inputs if is_picture(spec)}
    # pictures come in any size, odd ones too; a network that halves its input several times may need the factors of its own lengths
    trials = [_Trial(lambda n: n + n // 2 + 1, pictures), _Trial(lambda n: n // 2 + 1, pictures)]
    found = search.open_axes(trials) if pictures else None
    if found is None:
        found = search.open_axes([_Trial(lambda n: 2 * n, wished)]) if any(wished.values()) else None
    return _all_opened(inputs, outputs, is_batched, *(found or ()))


def _all_opened(
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    is_batched: bool,
    of_inputs: Optional[Axes] = None,
    of_outputs: Optional[Sequence[Set[int]]] = None,
) -> Specs:
    batch = {0} if is_batched else set()
    return (
        [_opened(spec, set((of_inputs or {}).get(spec.name, ())) | batch) for spec in inputs],
        [_opened(spec, axes | batch) for spec, axes in zip(outputs, of_outputs or [set()] * len(outputs))],
    )


def _opened(spec: TensorSpec, axes: Set[int]) -> TensorSpec:
    return spec._replace(shape=tuple(ANY if axis in axes else length for axis, length in enumerate(spec.shape)))


class _Search:
    """Trials of a network with synthetic data."""

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], compute: Compute) -> None:
        self.inputs, self.outputs, self._compute = inputs, outputs, compute
        self._random = np.random.RandomState(0)

    def has_batch(self) -> bool:
        """Return True if the first dimension of all inputs and outputs counts items that do not affect one another."""
        firsts = {spec.shape[0] if spec.shape else 0 for spec in (*self.inputs, *self.outputs)}
        if len(firsts) != 1 or 0 in firsts or any(is_picture(spec) and len(spec.shape) != max(_PICTURE_RANKS) for spec in self.inputs):
            return False
        pair = {spec.name: self._data(spec, (2, *spec.shape[1:])) for spec in self.inputs}
        alone = [self._try({name: array[at : at + 1] for name, array in pair.items()}) for at in range(2)]
        together = self._try(pair)
        if together is None or alone[0] is None or alone[1] is None:
            return False
        return all(_are_items(given, [first, second]) for given, first, second in zip(together, alone[0], alone[1]))

    def open_axes(self, trials: Sequence[_Trial]) -> Optional[Tuple[Axes, List[Set[int]]]]:
        """Return the axes of inputs that took all lengths, and for each output the axes whose lengths followed; None if they did not."""
        followed: List[Set[int]] = [set() for _ in self.outputs]
        for trial in trials:
            given = self._try({spec.name: self._data(spec, _varied(spec, trial)) for spec in self.inputs})
            if given is None or any(array.ndim != len(spec.shape) for spec, array in zip(self.outputs, given)):
                return None
            for axes, spec, array in zip(followed, self.outputs, given):
                axes.update(axis for axis, length in enumerate(spec.shape) if array.shape[axis] != length)
        return trials[0].axes, followed

    def _try(self, inputs: Mapping[str, np.ndarray]) -> Optional[List[np.ndarray]]:
        try:
            return self._compute(inputs)
        except RuntimeError:
            return None

    def _data(self, spec: TensorSpec, shape: Sequence[int]) -> np.ndarray:
        if spec.dtype.startswith("float"):
            return self._random.random_sample(shape).astype(spec.dtype)
        # whole numbers other than pictures may be indices into a short table
        return self._random.randint(0, 256 if is_picture(spec) else 2, shape).astype(spec.dtype)


def _varied(spec: TensorSpec, trial: _Trial) -> List[int]:
    axes = trial.axes.get(spec.name, ())
    return [trial.vary(length) if axis in axes else length for axis, length in enumerate(spec.shape)]


def _are_items(together: np.ndarray, alone: Sequence[np.ndarray]) -> bool:
    """Return True if an output has one item for each of the inputs', equal to its output alone."""
    if len(together) != len(alone) or any(each.shape != (1, *together.shape[1:]) for each in alone):
        return False
    expected = np.concatenate(list(alone)).astype(np.float64)
    scale = float(np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))) or 1.0
    return bool(np.allclose(together.astype(np.float64), expected, rtol=0, atol=_TOLERANCE * scale, equal_nan=True))
