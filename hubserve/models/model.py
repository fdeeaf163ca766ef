"""Any model as a module: tensors, JSON, and ``hub run``."""

import argparse
import json
import time
from typing import Any, ClassVar, Collection, Dict, List, Mapping, Optional

import numpy as np

from hubserve.engines import EngineOptions, load_engine
from hubserve.errors import ModuleFailed, WrongArguments
from hubserve.models import settings
from hubserve.models.arrays import arrays_of, example_of_inputs, nested_example, read_inputs
from hubserve.models.items import UNBATCHED, items_per_run, outer_specs, run_items
from hubserve.module import JsonArray, batch, decode_array, find_folder, instance_threads, runnable, serving
from hubserve.types import ANY, check_inputs

_IMAGES = JsonArray("images", "revert_params")


class ModelModule:
    """A module that consists of one model file.

    It takes tensors, and JSON in two forms: ``{"inputs": {name: array}}`` with all inputs, each nested lists or
    ``{"data": base64, "shape", "dtype"}``, and, for models with one input, PaddleHub's ``{"images": base64, "revert_params": {"shape",
    "dtype"}}``. :meth:`postprocess` returns the answer.

    A derived class has ``get_config``: a function without arguments that returns nested dicts as in ``params.py``. Missing settings have
    the values of :attr:`defaults`; ``init_args`` can override each setting.

    Attributes:
        config: its settings.
        model_folder: of the model's files.
        engine: the loaded model.
        inputs, outputs: as requests see them, the items first.
        per_run: the number of items in one run of the model; see :func:`~hubserve.models.items.items_per_run`.
        max_batch_size: the most items of one call.
    """

    name: ClassVar[str] = ""
    directory: str = ""
    #: all settings
    defaults: ClassVar[Mapping[str, Any]] = {"Global": settings.GLOBAL}
    #: further settings that ``init_args`` may set to None, beside those with None as default; for others None means unchanged
    nullable: ClassVar[Collection[str]] = ()

    @staticmethod
    def get_config() -> Mapping[str, Any]:
        """Return the module's own settings, as nested dicts."""
        return {}

    def _initialize(self, use_gpu: Optional[bool] = None, enable_mkldnn: Optional[bool] = None, **given: Any) -> None:
        given = {"use_gpu": use_gpu, "enable_mkldnn": enable_mkldnn, **given}
        self.config = settings.merged(self.defaults, self.get_config())
        may_be_none = {*settings.nullable(self.defaults), *self.nullable}
        overrides = {key: value for key, value in given.items() if value is not None or key in may_be_none}
        settings.override(self.sections(), overrides, self.name)
        params = self.config["Global"]
        options = {key: params[key] for key in EngineOptions._fields if key in params}
        options["cpu_num_threads"] = params["cpu_num_threads"] or instance_threads()
        self.model_folder = find_folder(params["inference_model_dir"], self.directory)
        self.complete_settings()
        self.engine = load_engine(self.model_folder, params["engine"], EngineOptions(**options, max_batch_size=params["batch_size"]))
        self.engine_info = self.engine.describe()
        self._set_specs(params["batch_size"], params["batched"])

    def complete_settings(self) -> None:
        """Complete :attr:`config` by the files in :attr:`model_folder`; called before the engine is loaded."""

    def _set_specs(self, batch_size: int, batched: Optional[bool]) -> None:
        engine = self.engine
        self.per_run = UNBATCHED if batched is False else items_per_run(engine.inputs, engine.outputs)
        self.max_batch_size = batch_size if self.per_run == ANY else min(batch_size, max(self.per_run, 1))
        self.inputs, self.outputs = outer_specs(engine.inputs, self.per_run), outer_specs(engine.outputs, self.per_run)
        self.json_array = _IMAGES if len(self.inputs) == 1 and self.per_run != UNBATCHED else None

    def sections(self) -> List[Dict[str, Any]]:
        """Return the parts of :attr:`config` whose keys ``init_args`` may override."""
        return [self.config["Global"]]

    @batch(json=_IMAGES)
    def infer(self, /, **inputs: np.ndarray) -> Dict[str, np.ndarray]:
        """Compute at most ``max_batch_size`` items: name to array in, name to array out, the items first."""
        outputs = run_items(self.engine.run, inputs, self.per_run)
        count = len(next(iter(inputs.values())))
        wrong = [spec.name for spec, output in zip(self.outputs, outputs) if np.shape(output)[:1] != (count,)]
        if wrong:
            raise ModuleFailed(
                f"the model was given {count} items, and its output '{wrong[0]}' has another number of them: its first dimension counts "
                "something else. Set 'batched' to False in params.py (or init_args)."
            )
        return {spec.name: output for spec, output in zip(self.outputs, outputs)}

    def postprocess(self, outputs: Dict[str, np.ndarray], elapse_s: float) -> Any:
        """Return one request's JSON answer: ``{"outputs": {name: nested lists}, "elapse": seconds}``."""
        plain = (
            outputs if self.per_run != UNBATCHED or len(next(iter(outputs.values()))) != 1 else {name: a[0] for name, a in outputs.items()}
        )
        return {"outputs": plain, "elapse": elapse_s}

    def answer(self, inputs: Dict[str, np.ndarray]) -> Any:
        """Compute any number of items, and return the server's answer.

        Raises:
            InvalidInput: the arrays do not fit :attr:`inputs`.
        """
        count = check_inputs(self.inputs, inputs)
        start = time.perf_counter()
        starts = range(0, count, self.max_batch_size)
        parts = [self.infer(**{name: array[at : at + self.max_batch_size] for name, array in inputs.items()}) for at in starts]
        outputs = {name: np.concatenate([part[name] for part in parts]) if len(parts) > 1 else parts[0][name] for name in parts[0]}
        return self.postprocess(outputs, time.perf_counter() - start)

    @property
    def serving_usage(self) -> str:
        """The arguments of :meth:`serve`, for messages."""
        example = {spec.name: nested_example(spec) for spec in self.engine.inputs}
        return f"{json.dumps({'inputs': example})} with {_listed(self.engine.inputs)}"

    @property
    def serving_example(self) -> Any:
        """A request that can be sent as it is; None if it would be long."""
        return example_of_inputs(self.engine.inputs)

    @serving
    def serve(self, /, **arguments: Any) -> Any:
        """Answer ``{"inputs": {...}}``, or ``{"images": ..., "revert_params": ...}``; see the class."""
        keys = set(arguments)
        if keys == {"inputs"}:
            return self._serve_named(arguments["inputs"])
        if self.json_array is not None and keys == set(_IMAGES):
            return self.answer({self.inputs[0].name: decode_array(arguments[_IMAGES.data], arguments[_IMAGES.about])})
        return self.serve_other(arguments)

    def serve_other(self, arguments: Mapping[str, Any]) -> Any:
        """Answer a request with other arguments than tensors.

        Raises:
            WrongArguments: the module does not take these arguments.
        """
        known = ["inputs"] if self.json_array is None else ["inputs", *_IMAGES]
        unknown = [key for key in arguments if key not in known]
        if unknown:
            raise WrongArguments(f"the argument '{unknown[0][:80]}' is not known")
        if not arguments:
            raise WrongArguments("the arguments are missing")
        missing = [key for key in _IMAGES if key not in arguments]
        raise WrongArguments(
            f"the argument '{missing[0]}' is missing" if missing else "there are arguments of two forms; send those of one"
        )

    def _serve_named(self, inputs: Any) -> Any:
        arrays = arrays_of(inputs, self.engine.inputs)
        return self.answer({name: array[None] for name, array in arrays.items()} if self.per_run == UNBATCHED else arrays)

    @runnable
    def run_cmd(self, argvs: List[str]) -> Any:
        """Answer ``hub run NAME --inputs FILE``."""
        parser = argparse.ArgumentParser(prog=f"hub run {self.name}")
        about = f"the inputs {_listed(self.engine.inputs)}: JSON text, or a .json or .npz file"
        parser.add_argument("--inputs", required=True, help=about)
        return self._serve_named(read_inputs(parser.parse_args(argvs).inputs))


def _listed(specs: Any) -> str:
    return ", ".join(f"{each.name} ({each.dtype} {list(each.shape)})" for each in specs)
