"""Run a model once on a synthetic batch in a separate process, to detect what its signature does not say."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from hubserve.engines import ModelFiles
from hubserve.engines.subprocess_call import ChildFailed, Interpreter, call_in_child
from hubserve.errors import LoadFailed
from hubserve.paths import home
from hubserve.registry.environments.engine_environment import engine_launch
from hubserve.registry.instance_command import instance_environment
from hubserve.types import TensorSpec, specs_from_json

_TIMEOUT_S = 600.0


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


def try_model(files: ModelFiles, engine: str, preprocess: Mapping[str, Any] | None) -> Trial:
    """Try a model in a separate process, in the environment of its engine if it has one.

    Args:
        files: the model.
        engine: the engine of its format.
        preprocess: preparation of pictures, as under ``PreProcess`` of :class:`hubserve.models.ClassifierModule`; None without pictures.
    Raises:
        LoadFailed: no installed engine can load it, or it should take pictures but is not a classifier.
        MissingDependency: no engine for it is installed.
        InvalidInput: prepared pictures do not fit its input.
        ConfigError: ``preprocess`` is invalid.
        InstallError: the environment of its engine is not built.
    """
    launched = engine_launch(home(), engine, f"'{files.graph.name}'", build=False)
    python = Interpreter(launched.python, {**instance_environment(home(), [], launched.python), **launched.environ}) if launched else None
    weights = str(files.weights) if files.weights else None
    try:
        result = call_in_child("hubserve.models.trial:run_trial", [str(files.graph), weights, preprocess], _TIMEOUT_S, python)
    except ChildFailed as error:
        what = f"{files.graph.name} could not be run on a synthetic batch: {error.message}"
        raise LoadFailed(
            f"{what}. Check that its own framework loads it (hub convert --debug shows the engine's output).", error.detail
        ) from None
    return Trial(**{**result, "inputs": specs_from_json(result["inputs"]), "outputs": specs_from_json(result["outputs"])})
