"""Triton models that are files, of any of the engines."""

import argparse
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from hubserve.engines import Engine, EngineOptions, find_model_files, load_engine
from hubserve.engines.base import ModelFiles, Signature
from hubserve.engines.model_formats import FORMATS, backend_of_file
from hubserve.engines.tuning import read_tuning
from hubserve.errors import ConfigError, InvalidInput, ModuleFailed
from hubserve.kinds.base import LoadedModule
from hubserve.kinds.called_methods import as_json
from hubserve.kinds.description import Argument, Description, Interface
from hubserve.kinds.model_settings import read_settings
from hubserve.kinds.triton.accelerators import accelerate
from hubserve.kinds.triton.binding import Binding, bind, complete, configured_specs
from hubserve.kinds.triton.config import backend_of, empty_config, engine_of
from hubserve.kinds.triton.model_folder import model_file
from hubserve.kinds.triton.pictures import picture_item, prepare
from hubserve.models.arrays import arrays_of, example_of_inputs, read_inputs
from hubserve.models.items import UNBATCHED, items_per_run, run_items
from hubserve.module import instance_threads
from hubserve.types import ANY, REST, check_arrays, check_inputs

_LEVEL = "optimization.graph.level"
_PICTURES = "images"
_LONGEST_EXAMPLE = 64 << 10


def load_file_model(version_folder: Path, config: Dict[str, Any], use_gpu: bool = False) -> "FileModel":
    """Load the model of one version.

    Args:
        version_folder: ``<model>/<version>``.
        config: as :mod:`hubserve.kinds.triton.config` reads it; missing parts are completed from the file.
        use_gpu: whether to compute on the first visible GPU.
    Raises:
        ConfigError: the configuration and the file contradict each other.
        LoadFailed: the file is missing or damaged.
        MissingDependency: the engine is not installed.
    """
    backend = backend_of(config)
    files = _files(model_file(version_folder, config, backend), backend)
    parameters = {key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()}
    options, notes = _options(config, backend, parameters, use_gpu)
    options = options._replace(signature=_signature(config, backend))
    engine = load_engine(files, engine_of(config, backend, use_gpu), options)
    return FileModel(engine, config, complete(config, engine, backend), notes)


def load_plain_model(files: ModelFiles, name: str, init_args: Mapping[str, Any], use_gpu: bool = False) -> "FileModel":
    """Load a model without a configuration, which is completed from its file.

    Args:
        files: the model.
        name: the served name.
        init_args: as :mod:`hubserve.kinds.model_settings` reads them.
        use_gpu: whether to compute on the first visible GPU, if its engine can.
    Raises:
        ConfigError: a setting cannot be used.
        LoadFailed: the file is damaged, or none of its inputs and outputs can be served.
        MissingDependency: the engine is not installed.
    """
    backend = backend_of_file(files.graph)
    settings = read_settings(name, backend, init_args, use_gpu)
    engine = load_engine(files, settings.engine, settings.options)
    config = {
        **empty_config(),
        "name": name,
        "platform": (*FORMATS[backend].platforms, "")[0],
        "max_batch_size": settings.max_batch_size or 0,
    }
    return FileModel(engine, config, complete(config, engine, backend, may_batch=settings.max_batch_size is None), settings.notes)


def _files(path: Path, backend: str) -> ModelFiles:
    if path.is_dir() and not FORMATS[backend].marker:
        return find_model_files(path)
    return find_model_files(path.parent, path.name) if backend in ("paddle", "openvino") else ModelFiles(path, None)


def _options(config: Mapping[str, Any], backend: str, parameters: Mapping[str, str], use_gpu: bool) -> Tuple[EngineOptions, List[str]]:
    """Return the engine's options, and notes on settings without effect."""
    options = EngineOptions(use_gpu=use_gpu, cpu_num_threads=instance_threads(), max_batch_size=config["max_batch_size"] or 1)
    accelerated = accelerate(config, backend, options)
    level = config.get("optimization", {}).get("graph", {}).get("level", 0)
    given = {**parameters, **accelerated.parameters, **({_LEVEL: str(level)} if level else {})}
    tuning = read_tuning(backend, given, f"model '{config['name']}': ", use_gpu)
    options = accelerated.options._replace(cpu_num_threads=tuning.threads or options.cpu_num_threads, tuning=tuning.settings)
    return options, [*tuning.notes, *accelerated.notes]


def _signature(config: Mapping[str, Any], backend: str) -> Optional[Signature]:
    """Return the configuration's inputs and outputs for the engines whose files do not say all about theirs."""
    if backend == "pytorch" and config["input"] and config["output"]:
        return Signature(*(configured_specs(config, side) for side in ("input", "output")))
    if backend == "megengine" and config["input"]:
        return Signature(configured_specs(config, "input"), ())
    return None


class FileModel(LoadedModule):
    """A model file with a configuration: it answers tensors, and JSON of the form ``{"inputs": {name: array}}``.

    Values other than tensors (sequences, maps) are available to JSON requests only.

    Args:
        engine: the loaded file.
        written: its configuration as it was written.
        config: the same, completed, so that it has inputs and outputs.
        notes: on its settings, for the log.
    """

    def __init__(self, engine: Engine, written: Mapping[str, Any], config: Dict[str, Any], notes: Sequence[str] = ()) -> None:
        self._engine = engine
        self._name = config["name"]
        batch = config["max_batch_size"]
        self._batched = batch > 0
        self._inputs: List[Binding] = bind(config, "input", engine.inputs, is_completed=not written["input"])
        self._outputs: List[Binding] = bind(config, "output", engine.outputs, is_completed=not written["output"])
        self._per_run = self._items_per_run() if self._batched else UNBATCHED
        most = (batch if self._per_run == ANY else min(batch, self._per_run)) if self._batched else 1
        described = engine.describe()
        if notes:
            described["warnings"] = [*described.get("warnings", ()), *notes]
        self._has_values = bool(engine.value_inputs or engine.value_outputs)
        has_tensors = bool(engine.outputs) and all(each.optional for each in engine.value_inputs)
        has_sequences = "sequence_batching" in config
        takes_pictures = has_tensors and not has_sequences and not engine.value_inputs
        self._picture = picture_item([each.outer for each in self._inputs], self._batched) if takes_pictures else None
        interfaces = [*([Interface.TENSORS] if has_tensors else []), *([] if has_sequences else [Interface.JSON])]
        interfaces += [Interface.PICTURE] if self._picture else []
        self.description = Description(
            interfaces=interfaces,
            # without the inputs of sequence batching, which come after the clients' and which the gateway fills in
            inputs=[each.outer for each in self._inputs[: len(config["input"])]],
            outputs=[each.outer for each in self._outputs[: len(config["output"])]],
            max_batch_size=most,
            engine=described,
            batched=self._batched,
            config=config if has_tensors else None,
            labels={name: list(labels) for name, labels in engine.labels.items()} or None,
            picture_item=self._picture,
            json_pictures=_PICTURES if self._picture else "",
            arguments=[Argument("inputs", "Dict[str, Any]")] if Interface.JSON in interfaces else (),
            doc="inputs: " + self._listed_inputs(),
            example=self._example() if Interface.JSON in interfaces else "",
        )

    def _example(self) -> str:
        """Return an example of a JSON request; "" if none is known, or it would be long."""
        example = None if self._engine.value_inputs else example_of_inputs([each.outer for each in self._inputs])
        return as_json(example, _LONGEST_EXAMPLE) if example else ""

    def _listed_inputs(self) -> str:
        names = [f"{each.outer.name} ({each.outer.dtype} {list(each.outer.shape)})" for each in self._inputs]
        return ", ".join([*names, *(f"{each.name} ({each.type})" for each in self._engine.value_inputs)]) or "nothing in it"

    def _items_per_run(self) -> int:
        # a tensor of unknown rank has the batch dimension of the configuration
        known = [spec._replace(shape=(ANY,)) if spec.shape == (REST,) else spec for spec in self._engine.inputs]
        per_run = items_per_run(known, ()) if self._engine.counts_items else UNBATCHED
        if per_run == UNBATCHED:
            raise ConfigError(
                f"model '{self._name}': its file has no batch dimension that all inputs share. Set max_batch_size to 0, and give all dims."
            )
        return per_run

    def call_tensors(self, inputs: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """See the base class; a model without a batch dimension gets the arrays of one request."""
        fed = {each.inner: each.to_model(inputs[each.outer.name]) for each in self._inputs}
        outputs = run_items(self._engine.run, fed, self._per_run) if self._batched else self._engine.run(fed)
        given = {each.outer.name: each.from_model(outputs[each.position]) for each in self._outputs}
        if self._batched:
            self._check_count(given, len(next(iter(fed.values()))))
        return given

    def _check_count(self, outputs: Dict[str, np.ndarray], count: int) -> None:
        for name, array in outputs.items():
            if np.shape(array)[:1] != (count,):
                raise ModuleFailed(
                    f"model '{self._name}' was given {count} items, and its output '{name}' has shape {list(np.shape(array))}: its first "
                    "dimension counts something else. Set max_batch_size to 0 in its config.pbtxt, and give all dims."
                )

    def call_json(self, arguments: Dict[str, Any]) -> Any:
        """Answer ``{"inputs": {name: array}}`` with ``{"outputs": {name: nested lists}, "elapse": seconds}``; see the base class."""
        unknown = sorted(set(arguments) - {"inputs"})
        if unknown or "inputs" not in arguments:
            listed = self._listed_inputs()
            listed += f", or {{'{_PICTURES}': [base64 of a picture]}}" if self._picture else ""
            raise InvalidInput(f"model '{self._name}' takes {{'inputs': {{...}}}} with {listed}, got {unknown or 'nothing'}")
        if self._has_values:
            return self._call_values(arguments["inputs"])
        specs = self.description.inputs
        arrays = arrays_of(arguments["inputs"], specs)
        start = time.perf_counter()
        if not self._batched:
            check_arrays(specs, arrays)
            return self.postprocess(self.call_tensors(arrays), time.perf_counter() - start)
        count, size = check_inputs(specs, arrays), self.description.max_batch_size
        parts = [self.call_tensors({name: a[at : at + size] for name, a in arrays.items()}) for at in range(0, count, size)]
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return self.postprocess(outputs, time.perf_counter() - start)

    def _call_values(self, inputs: Any) -> Any:
        """Answer a request of a model with other values than tensors, by the file's own names and without batching."""
        known = {each.name for each in self._engine.value_inputs}
        if not isinstance(inputs, dict):
            raise InvalidInput(f"'inputs' must be an object, got {type(inputs).__name__}")
        others = {name: value for name, value in inputs.items() if name in known}
        arrays = arrays_of({name: value for name, value in inputs.items() if name not in known}, self._engine.inputs)
        start = time.perf_counter()
        return self.postprocess(self._engine.run_values({**arrays, **others}), time.perf_counter() - start)

    def preprocess(self, picture: bytes) -> np.ndarray:
        """See the base class; uint8 BGR, of the size that the model fixes or of the picture's own."""
        if self._picture is None:
            raise self.unsupported(Interface.PICTURE)
        return prepare(picture, self._picture)

    def postprocess(self, outputs: Any, elapse_s: float) -> Any:
        """See the base class."""
        return {"outputs": outputs, "elapse": elapse_s}

    def run(self, argv: List[str]) -> Any:
        """Answer ``hub run NAME --inputs FILE``."""
        parser = argparse.ArgumentParser(prog=f"hub run {self._name}")
        parser.add_argument("--inputs", default="{}", help="the inputs: JSON text, or a .json or .npz file")
        answer = self.call_json({"inputs": read_inputs(parser.parse_args(argv).inputs)})
        return {**answer, "outputs": {name: _listed(value) for name, value in answer["outputs"].items()}}


def _listed(value: Any) -> Any:
    """Convert arrays to nested lists, and byte strings to texts, for people and programs to read."""
    if isinstance(value, np.ndarray):
        return _listed(value.tolist())
    if isinstance(value, list):
        return [_listed(each) for each in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
