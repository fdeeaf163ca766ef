"""Check an ensemble's dataflow: its steps, their inputs and outputs, and that they can be put in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hubserve.errors import ConfigError


@dataclass(frozen=True)
class EnsembleStep:
    """One model of an ensemble.

    Attributes:
        number: its position in the configuration, from 1, for messages.
        model: the served name.
        version: of the model; None for its default.
        inputs: the model's name of each input to the ensemble's tensor.
        outputs: the model's name of each used output to the ensemble's tensor.
    """

    number: int
    model: str
    version: str | None
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"step {self.number} (model '{self.model}'{f' version {self.version}' if self.version else ''})"


@dataclass(frozen=True)
class EnsemblePlan:
    """A dataflow in which every tensor has exactly one source and no step waits for itself.

    Attributes:
        steps: as configured.
        inputs, outputs: the ensemble's own tensors.
    """

    steps: tuple[EnsembleStep, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def plan_ensemble(config: Mapping[str, Any]) -> EnsemblePlan:
    """Check ``ensemble_scheduling``.

    Raises:
        ConfigError: a tensor has no source or two, a step waits for itself, or a step or a map is incomplete.
    """
    where = f"ensemble '{config['name']}'"
    steps = tuple(_step(where, number, each) for number, each in enumerate(config["ensemble_scheduling"]["step"], 1))
    inputs = tuple(each["name"] for each in config["input"])
    outputs = tuple(each["name"] for each in config["output"])
    if not outputs:
        raise ConfigError(f"{where} needs 'output' in its config.pbtxt")
    sources = dict.fromkeys(inputs, "the ensemble's input")
    for step in steps:
        for tensor in step.outputs.values():
            if tensor in sources:
                raise ConfigError(f"{where}: tensor '{tensor}' has two sources: {sources[tensor]} and {step.label}. Rename one of the two.")
            sources[tensor] = step.label
    for step in steps:
        for tensor in step.inputs.values():
            if tensor not in sources:
                raise ConfigError(f"{where}: {step.label} takes tensor '{tensor}', which is neither an input nor a step's output")
    missing = next((each for each in outputs if each not in sources), None)
    if missing is not None:
        raise ConfigError(f"{where}: no step has its output '{missing}'")
    unused = next((each for each in inputs if not any(each in step.inputs.values() for step in steps) and each not in outputs), None)
    if unused is not None:
        raise ConfigError(f"{where}: no step takes its input '{unused}'. Remove it.")
    _check_order(where, steps, inputs)
    return EnsemblePlan(steps, inputs, outputs)


def _step(where: str, number: int, given: Mapping[str, Any]) -> EnsembleStep:
    version = given.get("model_version", -1)
    known = str(version) if version and version > 0 else None
    step = EnsembleStep(number, given.get("model_name", ""), known, given.get("input_map", {}), given.get("output_map", {}))
    if not (step.model and step.outputs):
        raise ConfigError(f"{where}: {step.label} needs model_name and output_map")
    return step


def _check_order(where: str, steps: tuple[EnsembleStep, ...], inputs: tuple[str, ...]) -> None:
    known, left = set(inputs), list(steps)
    while left:
        ready = [step for step in left if known.issuperset(step.inputs.values())]
        if not ready:
            circle = ", ".join(step.label for step in left)
            raise ConfigError(f"{where}: these steps wait for one another in a circle: {circle}")
        for step in ready:
            known.update(step.outputs.values())
            left.remove(step)


def unordered_pair(steps: Sequence[EnsembleStep], some: Sequence[EnsembleStep]) -> tuple[EnsembleStep, EnsembleStep] | None:
    """Return two steps that do not depend on each other, directly or through others; None if there are none.

    Args:
        steps: all of the ensemble.
        some: the compared ones.
    """
    sources = {tensor: step for step in steps for tensor in step.outputs.values()}
    above: dict[int, set[int]] = {}

    def find(step: EnsembleStep) -> set[int]:
        if step.number not in above:
            direct = [sources[tensor] for tensor in step.inputs.values() if tensor in sources]
            above[step.number] = {each.number for each in direct}.union(*(find(each) for each in direct))
        return above[step.number]

    pairs = ((one, other) for index, one in enumerate(some) for other in some[index + 1 :])
    return next((each for each in pairs if each[0].number not in find(each[1]) and each[1].number not in find(each[0])), None)
