"""PyTorch: TorchScript files, as ``torch.jit.save`` writes them."""

import re
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

import numpy as np

from hubserve.engines.base import Engine, EngineOptions, ModelFiles, Signature
from hubserve.engines.failures import computing, loading
from hubserve.engines.package_imports import import_package
from hubserve.engines.torch_files import check_script
from hubserve.engines.torch_signature import find_signature, keys_of, takes_dictionary
from hubserve.errors import LoadFailed, ModuleFailed
from hubserve.types import TensorSpec, check_arrays, dtype_name, native

_INSTALL = "Install it with: pip install torch (or, without CUDA: pip install torch --index-url https://download.pytorch.org/whl/cpu)."
_BY_PLACE = re.compile(r"(?:INPUT|OUTPUT)_?_([0-9]{1,4})|.+__([0-9]{1,4})")
#: settings of the whole process -> the function of torch._C that makes them
_JIT_SWITCHES = {
    "ENABLE_JIT_EXECUTOR": "_jit_set_profiling_executor",
    "ENABLE_JIT_PROFILING": "_jit_set_profiling_mode",
    "ENABLE_TENSOR_FUSER": "_jit_set_texpr_fuser_enabled",
}


class TorchScriptEngine(Engine):
    """PyTorch on the CPU or a GPU: TorchScript files.

    Such a file does not say what it takes. ``EngineOptions.signature`` says it; without that it is found out by trying.
    """

    name = "pytorch"
    package = "torch"
    profile = "pytorch"
    has_gpu = True

    @classmethod
    def reads(cls, graph: Path) -> bool:
        """Return True for TorchScript only."""
        return graph.suffix in (".pt", ".pth", ".pts", ".torchscript")

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        if not self.reads(files.graph):
            raise LoadFailed(f"the pytorch engine does not read '{files.graph.name}'. Give it a TorchScript file, model.pt.")
        check_script(files.graph)
        torch: Any = import_package("torch", "the pytorch engine", _INSTALL)
        if options.use_gpu and not torch.cuda.is_available():
            raise LoadFailed("a GPU is asked for, and PyTorch finds none here. Check nvidia-smi and CUDA_VISIBLE_DEVICES, or use the CPU.")
        self._torch = torch
        self._device = torch.device("cuda" if options.use_gpu else "cpu")
        self._tuning: Dict[str, str] = dict(options.tuning)
        torch.set_num_threads(options.cpu_num_threads)
        _switch(torch, self._tuning)
        with loading(self.name, files, self.package), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch recommends another form of file to who writes one
            self._script = torch.jit.load(str(files.graph), map_location=self._device).eval()
            self._by_name = takes_dictionary(self._script)
            taken = keys_of(self._script) if self._by_name else [each.name for each in self._script.forward.schema.arguments[1:]]
        self.settings = {"version": torch.__version__, "device": self._device.type, "threads": options.cpu_num_threads, "precision": "fp32"}
        signature = options.signature or self._found(taken)
        self.inputs = list(signature.inputs) if self._by_name else _placed(signature.inputs, taken)
        self.outputs = _placed(signature.outputs, [])
        required = len(keys_of(self._script))
        if not required <= len(self.inputs) <= max(len(taken), required):
            raise LoadFailed(f"'{files.graph.name}' takes {len(taken)} tensors ({', '.join(taken)}), and {len(self.inputs)} are configured")

    def _found(self, taken: Sequence[str]) -> Signature:
        self.inputs = [TensorSpec(name, "float32", ()) for name in taken]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # as above
            found = find_signature(self._torch, self._script, lambda arrays: _flat(self._compute(arrays, list(arrays))))
        if found.note:
            self.settings = {**self.settings, "warnings": [found.note]}
        return found.signature

    def run(self, inputs: Dict[str, np.ndarray]) -> List[np.ndarray]:
        """See :meth:`Engine.run`."""
        check_arrays(self.inputs, inputs)
        with computing(self.name, inputs):
            arrays = self._ordered(_flat(self._compute(inputs, [spec.name for spec in self.inputs])))
        return [_checked(spec, array) for spec, array in zip(self.outputs, arrays)]

    def _compute(self, inputs: Mapping[str, np.ndarray], order: Sequence[str]) -> Any:
        tensors = {name: self._tensor(inputs[name]) for name in order}
        with _modes(self._torch, self._tuning):
            given = self._script(tensors) if self._by_name else self._script(*tensors.values())
        if self._tuning.get("ENABLE_CACHE_CLEANING") == "1" and self._device.type == "cuda":
            self._torch.cuda.empty_cache()
        return given

    def _tensor(self, array: np.ndarray) -> Any:
        array = native(array)
        # copied where it is read-only: a model may compute in place
        plain = np.ascontiguousarray(array) if array.flags.writeable else np.array(array, order="C")
        return self._torch.from_numpy(plain).to(self._device)

    def _ordered(self, given: Dict[str, np.ndarray]) -> List[np.ndarray]:
        """Return the arrays of the model's answer, in the order of :attr:`outputs`: by name if the answer has names, else by position."""
        if any(spec.name in given for spec in self.outputs):
            missing = [spec.name for spec in self.outputs if spec.name not in given]
            if missing:
                raise ValueError(f"it gave no '{missing[0]}', but {', '.join(given)}")
            return [given[spec.name] for spec in self.outputs]
        if len(given) < len(self.outputs):
            raise ValueError(f"it gave {len(given)} tensors, and {len(self.outputs)} are configured")
        return list(given.values())


def _flat(given: Any) -> Dict[str, np.ndarray]:
    """Collect the tensors of an answer, however deep they are in tuples, lists and dictionaries.

    Those of a dictionary have its keys as names, behind those of the dictionary that it is in; others ``OUTPUT__`` and their place.
    """
    found: Dict[str, np.ndarray] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{name}.{key}" if name else str(key))
        elif isinstance(value, (tuple, list)):
            for inner in value:
                walk(inner, name)
        elif value is not None:
            array = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
            found[name if name and name not in found else f"OUTPUT__{len(found)}"] = array

    walk(given, "")
    return found


@contextmanager
def _modes(torch: Any, tuning: Mapping[str, str]) -> Iterator[None]:
    with torch.inference_mode() if tuning.get("INFERENCE_MODE", "1") == "1" else torch.no_grad():
        if tuning.get("DISABLE_OPTIMIZED_EXECUTION") != "1":
            yield
            return
        with torch.jit.optimized_execution(False):
            yield


def _switch(torch: Any, tuning: Mapping[str, str]) -> None:
    """Make the settings of the whole process, which is this model's own."""
    if int(tuning.get("INTER_OP_THREAD_COUNT", "0")) > 0:
        with suppress(RuntimeError):  # they have been started already, by a model that this process loaded before
            torch.set_num_interop_threads(int(tuning["INTER_OP_THREAD_COUNT"]))
    if tuning.get("DISABLE_CUDNN") == "1":
        torch.backends.cudnn.enabled = False
    for key, function in _JIT_SWITCHES.items():
        if key in tuning and hasattr(torch._C, function):
            getattr(torch._C, function)(tuning[key] == "1")


def place_in_name(name: str) -> Optional[int]:
    """Return the position that a tensor's name gives: ``INPUT_1`` and ``anything__1`` are the second; None without one."""
    matched = _BY_PLACE.fullmatch(name)
    return int(matched.group(1) or matched.group(2)) if matched else None


def _placed(specs: Sequence[TensorSpec], names: Sequence[str]) -> List[TensorSpec]:
    """Sort into the file's order: by its own names, else by the position that a name gives, else as configured."""

    def place(index: int) -> int:
        name = specs[index].name
        if name in names:
            return names.index(name)
        said = place_in_name(name)
        return index if said is None else said

    return [specs[index] for index in sorted(range(len(specs)), key=place)]


def _checked(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    if dtype_name(array) != spec.dtype:
        raise ModuleFailed(
            f"output '{spec.name}' is configured as {spec.dtype}, and the file gave {dtype_name(array)}. Make the two equal."
        )
    return array
