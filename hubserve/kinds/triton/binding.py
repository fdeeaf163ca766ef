"""Bind the tensors of a Triton model's configuration to those of its file."""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from hubserve.engines import Engine
from hubserve.engines.pytorch_program import place_in_name
from hubserve.errors import ConfigError
from hubserve.kinds.triton.config import DATA_TYPES, DTYPES
from hubserve.kinds.triton.reshape import Reshape, reshape_of
from hubserve.models.items import UNBATCHED, items_per_run
from hubserve.types import ANY, REST, TensorSpec

_FLAGS = {"int32_false_true": "TYPE_INT32", "fp32_false_true": "TYPE_FP32", "bool_false_true": "TYPE_BOOL"}
#: the largest batch of a model whose configuration sets none, and whose file takes any number of items
_COMPLETED_BATCH = 32


class Binding(NamedTuple):
    """The binding of one tensor.

    Attributes:
        outer: as requests see it; the batch first, if the model has one.
        inner: its name in the file.
        position: its index among the file's inputs or outputs.
        reshape: from one to the other; None if their shapes are equal.
    """

    outer: TensorSpec
    inner: str
    position: int
    reshape: Optional[Reshape]

    def to_model(self, array: np.ndarray) -> np.ndarray:
        """Convert a request's array to the file's shape."""
        return array if self.reshape is None else self.reshape.to_model(array)

    def from_model(self, array: np.ndarray) -> np.ndarray:
        """Convert the file's array to the shape that requests see."""
        return array if self.reshape is None else self.reshape.from_model(array)


def complete(config: Mapping[str, Any], engine: Engine, backend: str, may_batch: bool = True) -> Dict[str, Any]:
    """Complete a configuration from the file: inputs, outputs and, if no tensor has a batch dimension, the largest batch.

    Args:
        config: may lack parts.
        engine: the loaded file.
        backend: the model's.
        may_batch: whether ``max_batch_size`` 0 leaves the largest batch to the file.
    """
    completed = {**config, "backend": backend}
    per_run = items_per_run(engine.inputs, engine.outputs) if engine.counts_items else UNBATCHED
    if may_batch and not config["max_batch_size"] and per_run != UNBATCHED and _leaves_batch_out(config, engine):
        completed["max_batch_size"] = _COMPLETED_BATCH if per_run == ANY else per_run
        if "sequence_batching" not in config:
            completed.setdefault("dynamic_batching", {})
    batched = completed["max_batch_size"] > 0
    for side, specs in (("input", engine.inputs), ("output", engine.outputs)):
        if not config[side]:
            completed[side] = [_entry(spec, batched, side) for spec in specs]
    return completed


def _leaves_batch_out(config: Mapping[str, Any], engine: Engine) -> bool:
    """Return True if no tensor of the configuration includes the file's first dimension."""
    sides = (("input", engine.inputs), ("output", engine.outputs))
    given = [(tensor, _position(tensor["name"], specs), specs) for side, specs in sides for tensor in config[side]]
    return all(
        position is None or len(tensor.get("reshape", {}).get("shape", tensor["dims"])) == len(specs[position].shape) - 1
        for tensor, position, specs in given
    )


def _entry(spec: TensorSpec, batched: bool, side: str) -> Dict[str, Any]:
    dims = list(spec.shape[1:] if batched else spec.shape)
    if REST in dims:  # a configuration cannot express an unknown rank
        dims = [ANY if length == REST else length for length in dims]
    entry: Dict[str, Any] = {"name": spec.name, "data_type": DATA_TYPES[spec.dtype], "dims": dims or [1]}
    if not dims:  # a configuration cannot express a tensor without dimensions
        entry["reshape"] = {"shape": []}
    return {**entry, "label_filename": ""} if side == "output" else {**entry, "format": "FORMAT_NONE"}


def configured_specs(config: Mapping[str, Any], side: str) -> List[TensorSpec]:
    """Return the file's tensors of one side by the configuration, for files that do not describe them.

    Raises:
        ConfigError: the configuration does not describe them, either.
    """
    if not config[side]:
        raise ConfigError(
            f"model '{config['name']}': its config.pbtxt needs '{side}', because its file does not say its datatypes and dims"
        )
    batch = (ANY,) if config["max_batch_size"] else ()
    tensors = [*config[side], *_sequence_tensors(config, side)]
    shapes = [each["reshape"].get("shape", []) if each.get("reshape") is not None else each["dims"] for each in tensors]
    return [TensorSpec(each["name"], DTYPES[each["data_type"]], (*batch, *shape)) for each, shape in zip(tensors, shapes)]


def bind(config: Mapping[str, Any], side: str, specs: Sequence[TensorSpec], is_completed: bool = False) -> List[Binding]:
    """Find the file's tensor for each of the configuration's.

    Args:
        config: completed.
        side: "input" or "output".
        specs: the file's, in its order.
        is_completed: whether this side was completed from the file, so that a tensor of unknown rank may have any.
    Raises:
        ConfigError: names, datatypes or dims contradict the file, or an input of the file is missing.
    """
    bound = [_bind(config, side, tensor, specs) for tensor in [*config[side], *_sequence_tensors(config, side)]]
    if is_completed:
        bound = [
            each._replace(outer=each.outer._replace(shape=(REST,))) if specs[each.position].shape == (REST,) else each for each in bound
        ]
    positions = [each.position for each in bound]
    missing = [spec.name for position, spec in enumerate(specs) if position not in positions]
    if missing and side == "input":
        raise ConfigError(f"model '{config['name']}': its file takes the input '{missing[0]}', which its config.pbtxt does not have")
    if len(set(positions)) != len(positions):
        raise ConfigError(f"model '{config['name']}': two {side}s of its config.pbtxt mean the same one of its file")
    return bound


def _sequence_tensors(config: Mapping[str, Any], side: str) -> List[Dict[str, Any]]:
    """Return the tensors of sequence batching, controls and states, which clients do not see."""
    given = config.get("sequence_batching", {})
    found = []
    if side == "input":
        for tensor in given.get("control_input", []):
            for control in tensor["control"]:
                data_type = next((value for key, value in _FLAGS.items() if control.get(key)), control.get("data_type"))
                found.append({"name": tensor["name"], "data_type": data_type, "dims": [1]})
    for state in given.get("state", []):
        found.append({"name": state[f"{side}_name"], "data_type": state["data_type"], "dims": state["dims"]})
    return found


def _bind(config: Mapping[str, Any], side: str, tensor: Mapping[str, Any], specs: Sequence[TensorSpec]) -> Binding:
    where = f"model '{config['name']}': {side} '{tensor['name']}'"
    batched = config["max_batch_size"] > 0
    position = _position(tensor["name"], specs)
    if position is None:
        listed = ", ".join(f"'{spec.name}'" for spec in specs)
        raise ConfigError(f"{where} is not in its file, which has {listed}; {side.upper()}_0 would mean the first of them")
    spec, dtype = specs[position], DTYPES[tensor["data_type"]]
    if spec.dtype != dtype:
        raise ConfigError(
            f"{where} is {tensor['data_type']} in config.pbtxt, and {DATA_TYPES[spec.dtype]} in its file. Make the two equal."
        )
    dims = tuple(tensor["dims"])
    reshape = reshape_of(tensor, batched)
    _check_dims(where, side, dims if reshape is None else reshape.shape, spec, batched)
    outer = TensorSpec(tensor["name"], dtype, (ANY, *dims) if batched else dims)
    return Binding(outer, spec.name, position, reshape)


def _position(name: str, specs: Sequence[TensorSpec]) -> Optional[int]:
    names = [spec.name for spec in specs]
    if name in names:
        return names.index(name)
    position = place_in_name(name)
    return position if position is not None and position < len(names) else None


def _check_dims(where: str, side: str, dims: Tuple[int, ...], spec: TensorSpec, batched: bool) -> None:
    if spec.shape == (REST,):
        return
    inside = spec.shape[1:] if batched else spec.shape
    is_output = side == "output"  # an output's actual lengths are known only after computing
    fits = len(dims) == len(inside) and (not batched or bool(spec.shape))
    fits = fits and all(got in (ANY, want) or (is_output and want == ANY) for want, got in zip(dims, inside))
    if not fits:
        with_batch = f" behind the batch, because max_batch_size is above 0; the file's shape is {list(spec.shape)}" if batched else ""
        raise ConfigError(f"{where} has dims {list(dims)} in config.pbtxt, and {list(inside)} in its file{with_batch}. Make the two equal.")
