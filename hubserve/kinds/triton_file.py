"""Triton models that are files: ONNX Runtime's, OpenVINO's, Paddle's and TorchScript's, on hubserve's engines."""

import argparse
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping

import numpy as np

from hubserve.engines import Engine, EngineOptions, find_model_files, load_engine
from hubserve.engines.base import ModelFiles, Signature
from hubserve.errors import ConfigError, InvalidInput, ModuleFailed
from hubserve.kinds.base import Description, Face, LoadedModule
from hubserve.kinds.triton_binding import Binding, bind, complete, configured_specs
from hubserve.kinds.triton_config import backend_of
from hubserve.kinds.triton_fields import THREADS
from hubserve.kinds.triton_model import model_file
from hubserve.models.arrays import arrays_of, read_inputs
from hubserve.models.items import WHOLE, items_per_run, run_items
from hubserve.module import instance_threads
from hubserve.types import ANY, REST, check_arrays, check_inputs

_PRECISIONS = {"trt_fp32": False, "trt_fp16": True}


def load_file_model(version_folder: Path, config: Dict[str, Any], use_gpu: bool = False) -> "FileModel":
    """Load the model of one version.

    Args:
        version_folder: ``<model>/<version>``.
        config: as :mod:`hubserve.kinds.triton_config` reads it; what it leaves out is completed from the file.
        use_gpu: whether to compute on the first visible GPU.
    Raises:
        ConfigError: the configuration and the file contradict each other.
        LoadFailed: the file is missing or damaged.
        MissingDependency: the engine is not installed.
    """
    backend = backend_of(config)
    files = _files(model_file(version_folder, config, backend), backend)
    parameters = {key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()}
    options = _options(config, parameters, use_gpu)
    if backend == "pytorch":
        options = options._replace(signature=Signature(*(configured_specs(config, side) for side in ("input", "output"))))
    engine = load_engine(files, parameters.get("engine", backend), options)
    completed = complete(config, engine, backend)
    return FileModel(engine, completed)


def _files(path: Path, backend: str) -> ModelFiles:
    if path.is_dir():
        return find_model_files(path)
    if backend == "openvino" and path.suffix == ".xml":
        return ModelFiles(path, path.with_suffix(".bin"))
    return find_model_files(path.parent, path.name) if backend in ("paddle", "openvino") else ModelFiles(path, None)


def _options(config: Mapping[str, Any], parameters: Mapping[str, str], use_gpu: bool) -> EngineOptions:
    options = EngineOptions(use_gpu=use_gpu, cpu_num_threads=instance_threads(), max_batch_size=config["max_batch_size"] or 1)
    own = backend_of(config) == "paddle"  # with others they are passed over
    accelerators = config.get("optimization", {}).get("execution_accelerators", {}) if own else {}
    for accelerator in accelerators.get("cpu_execution_accelerator", []):
        given = dict(accelerator.get("parameters", {}))
        _check_accelerator(config, accelerator, ("mkldnn", "onednn"), {"cpu_threads"})
        parameters = {**parameters, **given}
    for accelerator in accelerators.get("gpu_execution_accelerator", []):
        _check_accelerator(config, accelerator, ("tensorrt",), {"precision"})
        precision = accelerator.get("parameters", {}).get("precision", "trt_fp32")
        if precision not in _PRECISIONS:
            raise ConfigError(f"model '{config['name']}': tensorrt's precision '{precision}' is not one of {', '.join(_PRECISIONS)}")
        options = options._replace(use_tensorrt=True, use_fp16=_PRECISIONS[precision])
    for key in THREADS:
        if key in parameters:
            options = options._replace(cpu_num_threads=_number(config, key, parameters[key]))
    return options


def _check_accelerator(config: Mapping[str, Any], accelerator: Mapping[str, Any], names: Any, parameters: Any) -> None:
    name, model = accelerator.get("name", ""), config["name"]
    if name not in names:
        raise ConfigError(f"model '{model}': execution accelerator '{name}' is not supported here; use {' or '.join(names)}")
    unknown = sorted(set(accelerator.get("parameters", {})) - parameters)
    if unknown:
        raise ConfigError(
            f"model '{model}': execution accelerator '{name}' has no parameter '{unknown[0]}' here; it takes {sorted(parameters)}"
        )


def _number(config: Mapping[str, Any], key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ConfigError(f"model '{config['name']}': parameter {key} must be a whole number from 1 up, got {text!r}")
    return int(text)


class FileModel(LoadedModule):
    """A model file as its configuration presents it: tensors, and JSON of the form ``{"inputs": {name: array}}``.

    Args:
        engine: the loaded file.
        config: completed, so that it has inputs and outputs.
    """

    def __init__(self, engine: Engine, config: Dict[str, Any]) -> None:
        self._engine = engine
        self._name = config["name"]
        batch = config["max_batch_size"]
        self._batched = batch > 0
        self._inputs: List[Binding] = bind(config, "input", engine.inputs)
        self._outputs: List[Binding] = bind(config, "output", engine.outputs)
        self._per_run = self._items_per_run() if self._batched else WHOLE
        most = (batch if self._per_run == ANY else min(batch, self._per_run)) if self._batched else 1
        self.description = Description(
            faces=[Face.TENSORS] if "sequence_batching" in config else [Face.TENSORS, Face.JSON],
            # the inputs that tell of sequences are behind those of clients; who fills them in declares them
            inputs=[each.outer for each in self._inputs[: len(config["input"])]],
            outputs=[each.outer for each in self._outputs[: len(config["output"])]],
            max_batch_size=most,
            engine=engine.describe(),
            batched=self._batched,
            config=config,
        )

    def _items_per_run(self) -> int:
        # a tensor of unknown rank has the batch dimension that the configuration says
        known = [spec._replace(shape=(ANY,)) if spec.shape == (REST,) else spec for spec in self._engine.inputs]
        per_run = items_per_run(known, ())
        if per_run == WHOLE:
            raise ConfigError(
                f"model '{self._name}': its file has no batch dimension that all inputs share. Set max_batch_size to 0, and give all dims."
            )
        return per_run

    def call_tensors(self, inputs: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """See the base class; of a model without a batch dimension the arrays of one request."""
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
        """Answer ``{"inputs": {name: array}}`` by ``{"outputs": {name: nested lists}, "elapse": seconds}``; see the base class."""
        unknown = sorted(set(arguments) - {"inputs"})
        if unknown or "inputs" not in arguments:
            names = ", ".join(f"{each.outer.name} ({each.outer.dtype} {list(each.outer.shape)})" for each in self._inputs)
            raise InvalidInput(f"model '{self._name}' takes {{'inputs': {{...}}}} with {names}, got {unknown or 'nothing'}")
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

    def postprocess(self, outputs: Any, elapse_s: float) -> Any:
        """See the base class."""
        return {"outputs": outputs, "elapse": elapse_s}

    def run(self, argv: List[str]) -> Any:
        """Answer ``hub run NAME --inputs FILE``."""
        parser = argparse.ArgumentParser(prog=f"hub run {self._name}")
        parser.add_argument("--inputs", required=True, help="the inputs: JSON text, or a .json or .npz file")
        return self.call_json({"inputs": read_inputs(parser.parse_args(argv).inputs)})
