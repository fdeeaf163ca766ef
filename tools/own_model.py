"""What a person brings to be exported: a layer of their own, or files that ``paddle.jit.save`` wrote."""

import importlib
import inspect
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from paddle_export import GRAPHS, STEM, WEIGHTS, Predictor, pdmodel_to_json

from hubserve.engines.base import ModelFiles
from hubserve.engines.model_files import find_model_files
from hubserve.engines.weights import check_weights
from hubserve.errors import ConfigError, InvalidInput, LoadFailed
from hubserve.types import ANY, TensorSpec, parse_dtype

_SPEC = re.compile(r"(?P<name>[A-Za-z_][\w.]*):(?P<dtype>\w+):(?P<shape>-?\d+(,-?\d+)*)")
_SPEC_EXAMPLE = "write name:dtype:lengths, for example x:float32:-1,3,224,224 (-1: any length)"
#: of the largest value, in float32
_RELATIVE_TOLERANCE = 1e-4
_HALF_RELATIVE_TOLERANCE = 1e-2


def parse_input_spec(text: str) -> TensorSpec:
    """Read one ``--input-spec``, such as ``x:float32:-1,3,224,224``.

    Raises:
        ConfigError: it is not of that form.
    """
    match = _SPEC.fullmatch(text.replace(" ", ""))
    if match is None:
        raise ConfigError(f"cannot read --input-spec '{text}': {_SPEC_EXAMPLE}")
    shape = tuple(int(length) for length in match["shape"].split(","))
    if any(length < 1 and length != ANY for length in shape):
        raise ConfigError(f"--input-spec '{text}' has a length that is neither -1 nor 1 or more: {_SPEC_EXAMPLE}")
    try:
        return TensorSpec(match["name"], parse_dtype(match["dtype"]).name, shape)
    except InvalidInput as error:
        raise ConfigError(f"cannot read --input-spec '{text}': {error}") from None


def parse_input_specs(texts: Sequence[str]) -> list[TensorSpec]:
    """Read every ``--input-spec``.

    Raises:
        ConfigError: there is none, one cannot be read, or two have the same name.
    """
    specs = [parse_input_spec(text) for text in texts]
    names = [spec.name for spec in specs]
    if not specs:
        raise ConfigError(f"--module needs an --input-spec for each input of the layer: {_SPEC_EXAMPLE}")
    if len(set(names)) != len(names):
        raise ConfigError(f"two --input-spec have the same name: {', '.join(names)}. Give each input a name of its own.")
    return specs


def load_layer(target: str, params: Path | None, specs: Sequence[TensorSpec]) -> Any:
    """Call ``package.module:function``, found from the working directory, for its layer.

    Args:
        target: ``package.module:function``; a class does as well.
        params: weights that ``paddle.save`` wrote, or None. They are a pickle, which can run anything: only for files that you trust.
        specs: what the layer's ``forward`` is going to be given.

    Raises:
        ConfigError: ``target`` cannot be found, or the layer takes another number of inputs.
        LoadFailed: the person's code raises or returns no layer, or the weights do not fit.
    """
    import paddle

    layer = _call(_find_function(target), target)
    if not isinstance(layer, paddle.nn.Layer):
        raise LoadFailed(f"{target} returned {type(layer).__name__}; it must return a paddle.nn.Layer")
    try:
        inspect.signature(layer.forward).bind(*specs)
    except TypeError as error:
        names = ", ".join(spec.name for spec in specs)
        raise ConfigError(
            f"{type(layer).__name__}.forward does not take {len(specs)} input(s) ({names}): {error}. Give one --input-spec each."
        ) from None
    if params is not None:
        _load_params(layer, params)
    return layer


def _find_function(target: str) -> Callable[[], Any]:
    module_name, _, function_name = target.partition(":")
    if not module_name or not function_name:
        raise ConfigError(f"cannot read --module '{target}': write package.module:function")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name + ".").startswith(error.name + "."):
            raise ConfigError(f"there is no module '{module_name}' in '{os.getcwd()}' or among the installed packages") from error
        raise LoadFailed(f"cannot import '{module_name}': it needs '{error.name}', which is not installed") from error
    except Exception as error:  # whatever a person's own code raises
        raise LoadFailed(f"cannot import '{module_name}': {type(error).__name__}: {error}. --debug shows where.") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ConfigError(f"the module '{module_name}' has no function '{function_name}'")
    return function


def _call(function: Callable[[], Any], target: str) -> Any:
    try:
        return function()
    except Exception as error:  # whatever a person's own code raises
        raise LoadFailed(
            f"{target}() raised {type(error).__name__}: {error}. It is called without arguments; --debug shows where."
        ) from error


def _load_params(layer: Any, params: Path) -> None:
    import paddle

    if not params.is_file():
        raise LoadFailed(f"cannot read the weights '{params}': there is no such file")
    try:
        state = paddle.load(str(params))
    except Exception as error:  # paddle.load unpickles: anything can come
        raise LoadFailed(
            f"cannot read the weights '{params}': {type(error).__name__}: {error}. Give a file that paddle.save wrote."
        ) from error
    if not isinstance(state, dict):
        raise LoadFailed(f"'{params}' holds {type(state).__name__}; weights are a dict, as layer.state_dict() gives it")
    own = layer.state_dict()
    missing, unknown = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    if missing or unknown:
        raise LoadFailed(
            f"the weights '{params}' are not those of {type(layer).__name__}: missing are {missing[:3]}, unknown are {unknown[:3]}"
        )
    for name, parameter in own.items():
        if list(parameter.shape) != list(state[name].shape):
            raise LoadFailed(f"weight '{name}' in '{params}' has shape {list(state[name].shape)}; the layer's has {list(parameter.shape)}")
    layer.set_state_dict(state)


def compare(layer: Any, specs: Sequence[TensorSpec], graph: Path, say: Callable[[str], None]) -> None:
    """Load exported files and, where their shapes allow it, compare what they compute with what the layer does.

    Args:
        layer: what they were made of.
        specs: its inputs.
        graph: the exported ``.pdmodel`` or ``.json``.
        say: shows one line.

    Raises:
        LoadFailed: they cannot be loaded, or compute something else.
    """
    plain, onednn = Predictor(graph, onednn=False), Predictor(graph, onednn=True)
    for unused in {spec.name for spec in specs} - set(plain.inputs):
        say(f"note: the layer does not use its input '{unused}', so {graph.name} does not take it")
    if any(ANY in spec.shape[1:] for spec in specs):
        say(
            f"{graph.name} loads; its answers were not compared with the layer's, because its inputs have lengths other than the batch open"
        )
        return
    arrays = {spec.name: _sample(spec) for spec in specs}
    try:
        wanted = _flat(layer(*_tensors(arrays)))
    except Exception as error:  # random input is not every layer's
        say(f"{graph.name} loads; not compared, because the layer does not take a random input: {type(error).__name__}: {error}")
        return
    given = {name: arrays[name] for name in plain.inputs}
    if not _agree(wanted, plain.run(given)):
        raise LoadFailed(
            f"{graph.name} does not compute what the layer does on the same input; nothing was written. If forward draws random "
            "numbers or counts its calls, it cannot be exported."
        )
    if _agree(wanted, onednn.run(given)):
        say(f"{graph.name} computes what the layer does")
    else:
        say(f"warning: {graph.name} computes what the layer does only without oneDNN. Serve it with enable_mkldnn set to false.")


def _sample(spec: TensorSpec) -> np.ndarray:
    shape = [1 if length == ANY else length for length in spec.shape]
    if spec.dtype.startswith("float"):
        return np.random.default_rng(0).standard_normal(shape).astype(spec.dtype)
    return np.zeros(shape, spec.dtype)  # whole numbers may be places in a table: 0 is always one


def _tensors(arrays: dict[str, np.ndarray]) -> list[Any]:
    import paddle

    return [paddle.to_tensor(array) for array in arrays.values()]


def _flat(outputs: Any) -> list[np.ndarray]:
    import paddle

    return [each.numpy() for each in paddle.utils.flatten(outputs) if isinstance(each, paddle.Tensor)]


def _agree(wanted: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> bool:
    if len(wanted) != len(got) or any(one.shape != other.shape for one, other in zip(wanted, got, strict=True)):
        return False
    for one, other in zip(wanted, got, strict=True):
        relative = _HALF_RELATIVE_TOLERANCE if one.dtype == np.float16 else _RELATIVE_TOLERANCE
        if not np.allclose(one, other, rtol=0, atol=relative * float(np.abs(one[np.isfinite(one)]).max(initial=0)), equal_nan=True):
            return False
    return True


def find_checkpoint(given: str) -> ModelFiles:
    """Return the files that ``paddle.jit.save`` wrote.

    Args:
        given: the prefix that it was saved under, one of its files, or a folder that holds one such model.

    Raises:
        LoadFailed: there is no such model, several, or its weights are missing.
    """
    path = Path(given).expanduser()
    if path.is_dir():
        graphs = _graphs_in(path)
        if len({graph.stem for graph in graphs}) > 1:
            raise LoadFailed(f"'{path}' holds several models: {', '.join(graph.name for graph in graphs)}. Name one of them.")
    else:
        if path.suffix in (".pdmodel", ".json", ".pdiparams"):
            path = path.with_suffix("")
        graphs = [each for each in (Path(f"{path}.pdmodel"), Path(f"{path}.json")) if each.is_file()]
    if not graphs:
        hint = " It has .pdparams only: those are weights without a network; give --module and --params." if _has_params(path) else ""
        raise LoadFailed(f"there is no .pdmodel or .json of paddle.jit.save at '{given}'.{hint}")
    graph = next((graph for graph in graphs if graph.suffix == ".pdmodel"), graphs[0])
    return find_model_files(graph.parent, graph.name)


def _graphs_in(folder: Path) -> list[Path]:
    saved = [each for form in GRAPHS for each in sorted(folder.glob(f"*.{form}"))]
    # a .json without weights beside it may be anything
    return [each for each in saved if each.suffix == ".pdmodel" or each.with_suffix(".pdiparams").is_file()]


def _has_params(path: Path) -> bool:
    return Path(f"{path}.pdparams").is_file() or (path.is_dir() and any(path.glob("*.pdparams")))


def export_checkpoint(files: ModelFiles, folder: Path, form: str) -> None:
    """Write a ``paddle.jit.save`` model into ``folder`` as inference files of the format asked for.

    What ``paddle.jit.save`` writes is already an inference program; so within one format its bytes are kept.

    Raises:
        LoadFailed: the weights are damaged, or Paddle cannot do it.
    """
    graph = files.graph
    if graph.suffix == ".json" and form != "json":
        raise LoadFailed(
            f"cannot write '{graph}' as .pdmodel: Paddle translates the old format to the new one (.json), but not back. "
            "Use --format json; or save it again from its Python code with FLAGS_enable_pir_api=0 in the environment."
        )
    if files.weights:
        check_weights(files.weights)
        shutil.copyfile(files.weights, folder / WEIGHTS)
    if form in ("pdmodel", "both"):
        shutil.copyfile(graph, folder / f"{STEM}.pdmodel")
    if form in ("json", "both"):
        own = graph.with_suffix(".json")
        if own.is_file():
            shutil.copyfile(own, folder / f"{STEM}.json")
        else:
            pdmodel_to_json(graph.with_suffix(""), folder / STEM)
