"""PyTorch: TorchScript, exported programs, packages of AOTInductor, and weights with the code of their model."""

from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Type

import numpy as np

from hubserve.engines.base import Engine, EngineOptions, ModelFiles
from hubserve.engines.failures import computing, loading
from hubserve.engines.package_imports import import_package
from hubserve.engines.pytorch_program import Opening, Program
from hubserve.engines.torch_files import check_file, look_at
from hubserve.engines.torch_trees import flat
from hubserve.errors import LoadFailed, ModuleFailed
from hubserve.types import TensorSpec, check_arrays, dtype_name, native

_INSTALL = "Install it with: pip install torch (or, without CUDA: pip install torch --index-url https://download.pytorch.org/whl/cpu)."
ENDINGS = (".pt", ".pth", ".pts", ".torchscript", ".pt2", ".safetensors")
#: content of a file -> "package.module:Class" that computes it
FORMS = {
    "script": "hubserve.engines.pytorch_script:Script",
    "export": "hubserve.engines.pytorch_exported:Exported",
    "compiled": "hubserve.engines.pytorch_compiled:Compiled",
    "weights": "hubserve.engines.pytorch_weights:Weights",
}
#: settings of the whole process -> the function of torch._C that makes them
_JIT_SWITCHES = {
    "ENABLE_JIT_EXECUTOR": "_jit_set_profiling_executor",
    "ENABLE_JIT_PROFILING": "_jit_set_profiling_mode",
    "ENABLE_TENSOR_FUSER": "_jit_set_texpr_fuser_enabled",
}


class PyTorchEngine(Engine):
    """PyTorch on the CPU or a GPU: the forms of :data:`FORMS`, recognised by their content."""

    name = "pytorch"
    package = "torch"
    profile = "pytorch"
    has_gpu = True

    @classmethod
    def reads(cls, graph: Path) -> bool:
        """Return True for PyTorch's files."""
        return graph.suffix.lower() in ENDINGS

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        if not self.reads(files.graph):
            raise LoadFailed(f"the pytorch engine does not read '{files.graph.name}'. Give it model.pt, model.pt2 or model.safetensors.")
        check_file(files.graph)
        torch: Any = import_package("torch", "the pytorch engine", _INSTALL)
        if options.use_gpu and not torch.cuda.is_available():
            raise LoadFailed("a GPU is asked for, and PyTorch finds none here. Check nvidia-smi and CUDA_VISIBLE_DEVICES, or use the CPU.")
        self._torch = torch
        self._device = torch.device("cuda" if options.use_gpu else "cpu")
        self._tuning: Dict[str, str] = dict(options.tuning)
        torch.set_num_threads(options.cpu_num_threads)
        _switch(torch, self._tuning)
        form = look_at(files.graph).form
        with loading(self.name, files, self.package):
            # a damaged file is of no form: the loader of scripts says why
            self._program: Program = _class(FORMS.get(form, FORMS["script"]))(Opening(torch, files.graph, self._device, options))
            signature = self._program.signature(options.signature, lambda arrays: flat(self._compute(arrays)))
        self.settings = {
            "version": torch.__version__,
            "form": form,
            "device": self._device.type,
            "threads": options.cpu_num_threads,
            "precision": "fp32",
        }
        if self._program.notes:
            self.settings = {**self.settings, "warnings": list(self._program.notes)}
        self.inputs, self.outputs = list(signature.inputs), list(signature.outputs)

    def run(self, inputs: Dict[str, np.ndarray]) -> List[np.ndarray]:
        """See :meth:`Engine.run`."""
        check_arrays(self.inputs, inputs)
        with computing(self.name, inputs):
            arrays = self._program.batches.run(self._arrays, {spec.name: inputs[spec.name] for spec in self.inputs})
        return [_checked(spec, array) for spec, array in zip(self.outputs, arrays)]

    def _arrays(self, inputs: Dict[str, np.ndarray]) -> List[np.ndarray]:
        return self._ordered(flat(self._compute(inputs)))

    def _compute(self, inputs: Mapping[str, np.ndarray]) -> Any:
        tensors = {name: self._tensor(array) for name, array in inputs.items()}
        with _modes(self._torch, self._tuning):
            given = self._program.call(tensors)
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
        if not self._program.by_place and any(spec.name in given for spec in self.outputs):
            missing = [spec.name for spec in self.outputs if spec.name not in given]
            if missing:
                raise ValueError(f"it gave no '{missing[0]}', but {', '.join(given)}")
            return [given[spec.name] for spec in self.outputs]
        if len(given) < len(self.outputs):
            raise ValueError(f"it gave {len(given)} tensors, and {len(self.outputs)} are configured")
        return list(given.values())[: len(self.outputs)]


def _class(path: str) -> Type[Program]:
    module, _, cls = path.partition(":")
    return getattr(import_module(module), cls)  # type: ignore[no-any-return]  # the table holds programs only


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


def _checked(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    if dtype_name(array) != spec.dtype:
        raise ModuleFailed(
            f"output '{spec.name}' is configured as {spec.dtype}, and the file gave {dtype_name(array)}. Make the two equal."
        )
    return array
