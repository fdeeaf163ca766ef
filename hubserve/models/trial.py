"""Try a model on a synthetic batch: whether its first dimension is the batch, and whether items can be merged."""

from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

import numpy as np

from hubserve.engines import Engine, EngineOptions, ModelFiles, load_engine
from hubserve.engines.parity import compare
from hubserve.engines.selection import installed_readers
from hubserve.engines.synthetic_batch import make_sample
from hubserve.errors import HubError, InvalidInput, LoadFailed, MissingDependency
from hubserve.models.classifier import find_scores, make_preprocess
from hubserve.models.items import UNBATCHED, items_per_run
from hubserve.models.scores import are_probabilities
from hubserve.types import ANY, TensorSpec, specs_to_json

_PREFERENCE = {".onnx": ("onnxruntime", "openvino"), ".pdmodel": ("openvino", "paddle", "onnxruntime")}
_PADDLE = ("paddle", "onnxruntime")
Arrays = Dict[str, np.ndarray]


def run_trial(graph: str, weights: Optional[str], preprocess: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    """Run the trial in this process.

    Returns:
        JSON with ``engine``, ``inputs``, ``outputs``, ``per_run``, ``merges``, ``why`` and ``probabilities``.
    """
    engine = _load(ModelFiles(Path(graph), Path(weights) if weights else None))
    per_run = items_per_run(engine.inputs, engine.outputs)
    inputs = list(engine.inputs) if preprocess is None else [_pictures(engine, per_run, preprocess)]
    sample = make_sample(inputs)
    result: Dict[str, Any] = {"per_run": per_run, "merges": None, "why": "", "probabilities": None}
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
    first = _PREFERENCE.get(files.graph.suffix, _PADDLE)
    for name in sorted(installed, key=lambda each: first.index(each) if each in first else len(first)):
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


def _try(engine: Engine, sample: Arrays, per_run: int) -> Dict[str, Any]:
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
    odd = next((spec.name for spec, each in zip(engine.outputs, outputs) if np.shape(each)[:1] != (count,)), None)
    if odd is not None:
        return {"per_run": UNBATCHED, "merges": False, "why": f"its output '{odd}' does not have as many items as its inputs"}
    result: Dict[str, Any] = {"merges": count > 1, "why": "" if count > 1 else "it was exported for one item at a time"}
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


def _are_probabilities(outputs: Sequence[np.ndarray]) -> Optional[bool]:
    scores = next((each for each in outputs if each.ndim == 2 and each.dtype.kind == "f"), None)
    return None if scores is None else are_probabilities(scores)
