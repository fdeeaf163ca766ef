"""Run a model once on a synthetic batch, to detect what its signature does not say: whether its first dimension is the batch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hubserve.engines import Engine, EngineOptions, ModelFiles, load_engine
from hubserve.engines.parity import compare
from hubserve.engines.selection import installed_readers
from hubserve.engines.subprocess_call import ChildFailed, call_in_child
from hubserve.engines.synthetic_batch import make_sample
from hubserve.errors import HubError, InvalidInput, LoadFailed, MissingDependency
from hubserve.models.classifier import find_scores, make_preprocess
from hubserve.models.items import UNBATCHED, items_per_run
from hubserve.models.scores import are_probabilities
from hubserve.types import ANY, TensorSpec, specs_from_json, specs_to_json

_TIMEOUT_S = 600.0
_PREFERENCE = {".onnx": ("onnxruntime", "openvino"), ".pdmodel": ("openvino", "paddle", "onnxruntime")}
_USUAL = ("paddle", "onnxruntime")
Arrays = dict[str, np.ndarray]


class Trial(NamedTuple):
    """Result of a trial.

    Attributes:
        engine: name of the engine that ran it.
        inputs, outputs: the model's signature.
        per_run: items per run: ANY, an exact number, or UNBATCHED if the first dimension is not the batch.
        merges: whether a batch of items has the same results as separate items; None if unknown.
        why: the reason if items cannot be merged; else "".
        probabilities: whether the rows of the first output with two dimensions are from 0 to 1 and sum to 1; None without such an output.
    """

    engine: str
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    per_run: int
    merges: bool | None
    why: str
    probabilities: bool | None


def try_model(files: ModelFiles, preprocess: Mapping[str, Any] | None) -> Trial:
    """Try a model in a separate process.

    Args:
        files: the model.
        preprocess: preparation of pictures, as under ``PreProcess`` of :class:`hubserve.models.ClassifierModule`; None without pictures.
    Raises:
        LoadFailed: no installed engine can load it, or it should take pictures but is not a classifier.
        MissingDependency: no engine for it is installed.
        InvalidInput: prepared pictures do not fit its input.
        ConfigError: ``preprocess`` is invalid.
    """
    weights = str(files.weights) if files.weights else None
    try:
        result = call_in_child(f"{__name__}:run_trial", [str(files.graph), weights, preprocess], _TIMEOUT_S)
    except ChildFailed as error:
        what = f"{files.graph.name} could not be run on a synthetic batch: {error.message}"
        raise LoadFailed(
            f"{what}. Check that its own framework loads it (hub convert --debug shows the engine's output).", error.detail
        ) from None
    return Trial(**{**result, "inputs": specs_from_json(result["inputs"]), "outputs": specs_from_json(result["outputs"])})


def run_trial(graph: str, weights: str | None, preprocess: Mapping[str, Any] | None) -> dict[str, Any]:
    """Run the trial in this process, and return a :class:`Trial` as JSON."""
    engine = _load(ModelFiles(Path(graph), Path(weights) if weights else None))
    per_run = items_per_run(engine.inputs, engine.outputs)
    inputs = list(engine.inputs) if preprocess is None else [_pictures(engine, per_run, preprocess)]
    sample = make_sample(inputs)
    result: dict[str, Any] = {"per_run": per_run, "merges": None, "why": "", "probabilities": None}
    try:
        result.update(_try(engine, sample, per_run))
        if result.pop("depends", False) and preprocess is None:
            result["per_run"] = UNBATCHED
    except HubError as error:
        result["why"] = f"it is unknown whether they can be merged, because a synthetic batch could not be computed: {error.message}"
    return {"engine": engine.name, "inputs": specs_to_json(engine.inputs), "outputs": specs_to_json(engine.outputs), **result}


def _load(files: ModelFiles) -> Engine:
    installed = installed_readers(files.graph)
    failures = []
    for name in (each for each in _PREFERENCE.get(files.graph.suffix, _USUAL) if each in installed):
        try:
            return load_engine(files, name, EngineOptions())
        except HubError as error:
            failures.append(error.message)
    if failures:
        raise LoadFailed(failures[0])
    raise MissingDependency(
        f"no engine that can read {files.graph.name} is installed, so it cannot be run. Install one with: pip install 'hubserve[cpu,fast]'"
    )


def _pictures(engine: Engine, per_run: int, preprocess: Mapping[str, Any]) -> TensorSpec:
    """Return a classifier's input, with the lengths of a prepared picture for the model's variable dimensions."""
    find_scores(engine.inputs, engine.outputs, per_run)
    spec = engine.inputs[0]
    item = make_preprocess(preprocess, spec)(np.zeros((32, 32, 3), np.uint8))
    try:
        spec._replace(shape=(ANY, *spec.shape[1:])).check(item[None])
    except InvalidInput as error:
        raise InvalidInput(f"{error.message} from a picture. Set --image_size or --layout to what the model takes.") from None
    return spec._replace(shape=(spec.shape[0], *item.shape))


def _try(engine: Engine, sample: Arrays, per_run: int) -> dict[str, Any]:
    if per_run == UNBATCHED:
        engine.run(sample)
        return {"merges": False, "why": "its inputs and outputs have no first dimension in common"}
    first = {name: array[:1] for name, array in sample.items()}
    try:
        outputs = engine.run(sample)
    except HubError:
        outputs = engine.run(first)
        return {"merges": False, "why": "it computes one item, but not two", "probabilities": _are_probabilities(outputs)}
    count = len(next(iter(sample.values())))
    odd = next((spec.name for spec, each in zip(engine.outputs, outputs, strict=True) if np.shape(each)[:1] != (count,)), None)
    if odd is not None:
        return {"per_run": UNBATCHED, "merges": False, "why": f"its output '{odd}' does not have as many items as its inputs"}
    result: dict[str, Any] = {"merges": count > 1, "why": "" if count > 1 else "it was exported for one item at a time"}
    result["probabilities"] = _are_probabilities(outputs)
    if count > 1:
        # a model with a fixed batch gets the first item in every position
        alone = engine.run(first if per_run == ANY else {name: array[np.zeros(count, int)] for name, array in sample.items()})
        same = compare([each[:1] for each in outputs], [each[:1] for each in alone])
        if not same.agrees:
            result.update(
                merges=False, depends=True, why=f"its result for an item depends on the other items of the batch ({same.why_not})"
            )
    return result


def _are_probabilities(outputs: Sequence[np.ndarray]) -> bool | None:
    scores = next((each for each in outputs if each.ndim == 2 and each.dtype.kind == "f"), None)
    return None if scores is None else are_probabilities(scores)
