"""Base class of the forms of PyTorch models, and the way from configured tensors to a model's own."""

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from hubserve.engines.base import EngineOptions, Signature
from hubserve.errors import LoadFailed
from hubserve.types import ANY, TensorSpec

_BY_PLACE = re.compile(r"(?:INPUT|OUTPUT)_?_([0-9]{1,4})|.+__([0-9]{1,4})")


class Opening(NamedTuple):
    """The arguments of a form's class.

    Attributes:
        torch: the package.
        path: the model's file.
        device: torch's, to compute on.
        options: the engine's.
    """

    torch: Any
    path: Path
    device: Any
    options: EngineOptions


class Batches(NamedTuple):
    """The numbers of items that a model takes at once, where its first dimension counts items.

    Attributes:
        least: fewer are filled up, and the answers cut.
        most: more are computed in parts; 0 for no limit.
    """

    least: int = 1
    most: int = 0

    def run(self, compute: Callable[[Dict[str, np.ndarray]], List[np.ndarray]], inputs: Mapping[str, np.ndarray]) -> List[np.ndarray]:
        """Compute any number of items."""
        if self == Batches():
            return compute(dict(inputs))
        count = len(next(iter(inputs.values())))
        if self.most and count > self.most:
            parts = [
                self.run(compute, {name: each[at : at + self.most] for name, each in inputs.items()}) for at in range(0, count, self.most)
            ]
            return [np.concatenate(each) for each in zip(*parts)]
        if not 0 < count < self.least:
            return compute(dict(inputs))
        filled = {name: np.concatenate([each, *([each[-1:]] * (self.least - count))]) for name, each in inputs.items()}
        return [each[:count] for each in compute(filled)]


class Program(ABC):
    """A loaded model in one of PyTorch's forms."""

    #: the numbers of items at once
    batches: Batches = Batches()
    #: remarks for people
    notes: Sequence[str] = ()
    #: whether the outputs of the signature are all of the model's, in its order, under any names
    by_place: bool = False

    @abstractmethod
    def __init__(self, opening: Opening) -> None:
        """Load a file.

        Raises:
            Exception: any; see :func:`hubserve.engines.failures.loading`.
        """

    @abstractmethod
    def signature(self, configured: Optional[Signature], run: Callable[[Mapping[str, np.ndarray]], Dict[str, np.ndarray]]) -> Signature:
        """Return the inputs and outputs, in the order of the model.

        Args:
            configured: as a configuration says; None where it does not.
            run: computes arrays by name, to find out what no file says.
        Raises:
            LoadFailed: the configuration contradicts the model, or is needed.
        """

    @abstractmethod
    def call(self, tensors: Dict[str, Any]) -> Any:
        """Compute one batch.

        Args:
            tensors: name to tensor, in the order of the signature's inputs.
        Returns:
            Tensors, however deep in tuples, lists and dictionaries.
        """


def place_in_name(name: str) -> Optional[int]:
    """Return the position that a tensor's name gives: ``INPUT_1`` and ``anything__1`` are the second; None without one."""
    matched = _BY_PLACE.fullmatch(name)
    return int(matched.group(1) or matched.group(2)) if matched else None


def placed(specs: Sequence[TensorSpec], names: Sequence[str]) -> List[TensorSpec]:
    """Sort into the file's order: by its own names, else by the position that a name gives, else as configured."""
    return [specs[index] for index in sorted(range(len(specs)), key=lambda index: _place(specs, index, names))]


def _place(specs: Sequence[TensorSpec], index: int, names: Sequence[str]) -> int:
    name = specs[index].name
    if name in names:
        return names.index(name)
    said = place_in_name(name)
    return index if said is None else said


def renamed(own: Sequence[TensorSpec], configured: Sequence[TensorSpec], what: str) -> List[TensorSpec]:
    """Give a model's own tensors the names that a configuration has for them, by name or place.

    Raises:
        LoadFailed: a tensor is configured that the model does not have, or two are the same one.
    """
    found = list(own)
    names = [each.name for each in own]
    places = [_place(configured, index, names) for index in range(len(configured))]
    for spec, place in zip(configured, places):
        if place >= len(own) or places.count(place) > 1:
            listed = ", ".join(f"{each.name} ({each.dtype} {list(each.shape)})" for each in own)
            why = "is not in it" if place >= len(own) else "means the same one as another"
            raise LoadFailed(
                f"the configured {what} '{spec.name}' {why}: the model has {listed}. Call it so, or {what.upper()}__0 by place."
            )
        found[place] = found[place]._replace(name=spec.name)
    return found


def sample(spec: TensorSpec, length: int) -> np.ndarray:
    """Return made-up values for an input, with a length for its open dimensions."""
    shape = [length if each == ANY else each for each in spec.shape]
    if spec.dtype.startswith("float"):
        return np.random.default_rng(0).standard_normal(shape).astype(spec.dtype)
    return np.zeros(shape, spec.dtype)


def outputs_of(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> List[TensorSpec]:
    """Describe outputs by the answers to two batches of different size: lengths that differ are open."""
    return [
        TensorSpec(name, str(each.dtype), tuple(a if a == b else ANY for a, b in zip(each.shape, second[name].shape)))
        for name, each in first.items()
    ]
