"""PyTorch: TorchScript files, as ``torch.jit.save`` writes them."""

import re
import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from hubserve.engines.base import Engine, EngineOptions, ModelFiles
from hubserve.engines.failures import computing, loading
from hubserve.engines.imports import import_package
from hubserve.errors import LoadFailed, ModuleFailed
from hubserve.types import TensorSpec, check_arrays, dtype_name, native

_INSTALL = "Install it with: pip install torch (or, without CUDA: pip install torch --index-url https://download.pytorch.org/whl/cpu)."
_BY_PLACE = re.compile(r"(?:INPUT|OUTPUT)_?_([0-9]{1,4})|.+__([0-9]{1,4})")


class TorchScriptEngine(Engine):
    """Runs TorchScript files on the CPU or a GPU. Such a file does not say what it takes: ``EngineOptions.signature`` must."""

    name = "pytorch"
    package = "torch"

    @classmethod
    def reads(cls, graph: Path) -> bool:
        """TorchScript's only."""
        return graph.suffix in (".pt", ".pts", ".torchscript")

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        if not self.reads(files.graph):
            raise LoadFailed(f"the pytorch engine does not read '{files.graph.name}'. Give it a TorchScript file, model.pt.")
        if options.signature is None:
            raise LoadFailed(f"'{files.graph.name}' does not say which tensors it takes and gives: say it where it is configured")
        torch: Any = import_package("torch", "the pytorch engine", _INSTALL)
        if options.use_gpu and not torch.cuda.is_available():
            raise LoadFailed("a GPU is asked for, and PyTorch finds none here. Check nvidia-smi and CUDA_VISIBLE_DEVICES, or use the CPU.")
        self._torch = torch
        self._device = torch.device("cuda" if options.use_gpu else "cpu")
        torch.set_num_threads(options.cpu_num_threads)
        with loading(self.name, files), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch recommends another form of file to who writes one
            self._script = torch.jit.load(str(files.graph), map_location=self._device).eval()
            taken = [argument.name for argument in self._script.forward.schema.arguments][1:]
        self.inputs = _placed(options.signature.inputs, taken)
        self.outputs = _placed(options.signature.outputs, [])
        required = sum(not argument.has_default_value() for argument in self._script.forward.schema.arguments[1:])
        if not required <= len(self.inputs) <= len(taken):
            raise LoadFailed(f"'{files.graph.name}' takes {len(taken)} tensors ({', '.join(taken)}), and {len(self.inputs)} are configured")
        self.settings = {"version": torch.__version__, "device": self._device.type, "threads": options.cpu_num_threads, "precision": "fp32"}

    def run(self, inputs: Dict[str, np.ndarray]) -> List[np.ndarray]:
        """See :meth:`Engine.run`."""
        check_arrays(self.inputs, inputs)
        torch = self._torch
        with computing(self.name, inputs), torch.inference_mode():
            given = self._script(*(self._tensor(inputs[spec.name]) for spec in self.inputs))
            arrays = [each.detach().cpu().numpy() for each in self._ordered(given)]
        return [_checked(spec, array) for spec, array in zip(self.outputs, arrays)]

    def _tensor(self, array: np.ndarray) -> Any:
        array = native(array)
        # copied where it is read-only: a model may compute in place
        plain = np.ascontiguousarray(array) if array.flags.writeable else np.array(array, order="C")
        return self._torch.from_numpy(plain).to(self._device)

    def _ordered(self, given: Any) -> List[Any]:
        """The tensors of the model's answer, in the order of :attr:`outputs`."""
        if isinstance(given, dict):
            missing = [spec.name for spec in self.outputs if spec.name not in given]
            if missing:
                raise ValueError(f"it gave no '{missing[0]}', but {', '.join(map(str, given))}")
            return [given[spec.name] for spec in self.outputs]
        tensors = list(given) if isinstance(given, (tuple, list)) else [given]
        if len(tensors) < len(self.outputs):
            raise ValueError(f"it gave {len(tensors)} tensors, and {len(self.outputs)} are configured")
        return tensors


def place_in_name(name: str) -> Optional[int]:
    """The place in a file that a tensor's name says: ``INPUT_1`` and ``anything__1`` are the second; None if it says none."""
    matched = _BY_PLACE.fullmatch(name)
    return int(matched.group(1) or matched.group(2)) if matched else None


def _placed(specs: Sequence[TensorSpec], names: Sequence[str]) -> List[TensorSpec]:
    """In the file's order: by the file's own names, by the place that a name says, else as they are configured."""

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
