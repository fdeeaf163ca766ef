"""TorchScript files, as ``torch.jit.save`` writes them."""

import warnings
from typing import Any, Callable, Dict, Mapping, Optional

import numpy as np

from hubserve.engines.base import Signature
from hubserve.engines.pytorch_program import Opening, Program, placed
from hubserve.engines.torch_signature import find_signature, keys_of, takes_dictionary
from hubserve.errors import LoadFailed


class Script(Program):
    """A TorchScript file. It has the names of its arguments, but neither datatypes nor shapes: these are configured, or found by trying."""

    def __init__(self, opening: Opening) -> None:
        self._torch, self._name = opening.torch, opening.path.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch recommends another form of file to who writes one
            self._script = opening.torch.jit.load(str(opening.path), map_location=opening.device).eval()
        self._by_name = takes_dictionary(self._script)
        self._taken = keys_of(self._script) if self._by_name else [each.name for each in self._script.forward.schema.arguments[1:]]

    def signature(self, configured: Optional[Signature], run: Callable[[Mapping[str, np.ndarray]], Dict[str, np.ndarray]]) -> Signature:
        """See the base class."""
        found = configured or self._found(run)
        inputs = list(found.inputs) if self._by_name else placed(found.inputs, self._taken)
        required = len(keys_of(self._script))
        if not required <= len(inputs) <= max(len(self._taken), required):
            taken = ", ".join(self._taken)
            raise LoadFailed(f"'{self._name}' takes {len(self._taken)} tensors ({taken}), and {len(inputs)} are configured")
        return Signature(inputs, placed(found.outputs, []))

    def _found(self, run: Callable[[Mapping[str, np.ndarray]], Dict[str, np.ndarray]]) -> Signature:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # as above
            found = find_signature(self._torch, self._script, run)
        self.notes = [found.note] if found.note else []
        return found.signature

    def call(self, tensors: Dict[str, Any]) -> Any:
        """See the base class."""
        return self._script(tensors) if self._by_name else self._script(*tensors.values())
