"""Programs of ``torch.export``, as ``torch.export.save`` writes them."""

import logging
import os
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from hubserve.engines.base import Signature
from hubserve.engines.pytorch_program import Batches, Opening, Program, renamed
from hubserve.engines.torch_archive import check_archive, write_for_cpu
from hubserve.engines.torch_trees import named_leaves, served_dtype
from hubserve.errors import LoadFailed
from hubserve.types import ANY, DTYPES, TensorSpec

#: makes torch.load refuse everything but tensors, whatever its caller asks for
_ONLY_WEIGHTS = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
#: lengths up to this are limits that an author set; those of PyTorch itself have no end
_LARGEST_LIMIT = 1 << 24


class _Slot(NamedTuple):
    """A leaf of a program's inputs.

    Attributes:
        spec: None for a constant.
        constant: the value with which the program was exported.
        dtype: torch's, where it differs from the served one; "number" for a number in place of a tensor.
    """

    spec: Optional[TensorSpec]
    constant: Any = None
    dtype: Any = None


class _Length(NamedTuple):
    """The first dimension of a tensor: the name of its length, and the limits of it."""

    name: str
    least: int
    most: int


class Exported(Program):
    """An exported program. It says all of its inputs and outputs, and which lengths are open."""

    by_place = True

    def __init__(self, opening: Opening) -> None:
        program = _load(opening)
        self._unflatten = opening.torch.utils._pytree.tree_unflatten
        self._in_spec = program.call_spec.in_spec
        self._lengths: List[Optional[_Length]] = []
        values = {node.name: node.meta.get("val") for node in program.graph.nodes}
        signature = program.graph_signature
        given = [each.arg for each in signature.input_specs if each.kind.name == "USER_INPUT"]
        names = self._input_names(program, given)
        self._slots = [self._slot(opening, names[place], arg, values, program) for place, arg in enumerate(given)]
        taken = [each.arg for each in signature.output_specs if each.kind.name == "USER_OUTPUT"]
        places = [None if _is_none(arg) else place for place, arg in enumerate(taken)]
        leaves = named_leaves(self._unflatten(places, program.call_spec.out_spec))
        outputs = [self._slot(opening, name, taken[place], values, program, is_output=True).spec for name, place in leaves]
        self._own = Signature([each.spec for each in self._slots if each.spec], [each for each in outputs if each])
        self.batches = self._batches()
        self._module = program.module()

    def _input_names(self, program: Any, given: Sequence[Any]) -> List[str]:
        """Return the name of each leaf of the inputs: that of the argument, and the keys and places in it."""
        args, kwargs = self._unflatten(list(range(len(given))), self._in_spec)
        called = program.module_call_graph[0].signature.forward_arg_names if program.module_call_graph else None
        if not called:  # older archives: arguments that are tensors have the names of their placeholders
            called = [given[each].name if isinstance(each, int) else f"INPUT__{place}" for place, each in enumerate(args)]
        tree = {**dict(zip(called, args)), **kwargs}
        found = {leaf: name for name, leaf in named_leaves(tree, "INPUT__")}
        return [found[place] for place in range(len(given))]

    def _slot(self, opening: Opening, name: str, arg: Any, values: Mapping[str, Any], program: Any, is_output: bool = False) -> _Slot:
        torch, value = opening.torch, values.get(arg.name) if hasattr(arg, "name") else None
        if hasattr(arg, "value"):
            value = arg.value
        if isinstance(value, torch.Tensor):
            dtype = served_dtype(value.dtype)
            if dtype not in DTYPES:
                raise LoadFailed(
                    f"'{opening.path.name}' has {'an output' if is_output else 'an input'} '{name}' of {dtype}, which cannot be served"
                )
            self._lengths.append(_first_length(value, program.range_constraints))
            shape = tuple(each if isinstance(each, int) else ANY for each in value.shape)
            return _Slot(TensorSpec(name, dtype, shape), None, None if f"torch.{dtype}" == str(value.dtype) else value.dtype)
        number = next(
            (
                dtype
                for cls, dtype in ((torch.SymInt, "int64"), (torch.SymFloat, "float64"), (torch.SymBool, "bool"))
                if isinstance(value, cls)
            ),
            "",
        )
        if not number and is_output and isinstance(value, (bool, int, float)):
            number = {bool: "bool", int: "int64", float: "float64"}[type(value)]
        if number:
            self._lengths.append(None)
            return _Slot(TensorSpec(name, number, ()), None, "number")
        return _Slot(None, value)

    def _batches(self) -> Batches:
        """Return the limits of the number of items, where the first dimension of all inputs and outputs is the same open one."""
        first = self._lengths[0] if self._lengths else None
        if first is None or any(each is None or each.name != first.name for each in self._lengths):
            return Batches()
        return Batches(max(first.least, 1), first.most)

    def signature(self, configured: Optional[Signature], run: Callable[[Mapping[str, np.ndarray]], Dict[str, np.ndarray]]) -> Signature:  # noqa: ARG002
        """See the base class: the program's own; a configuration may name its tensors otherwise."""
        if configured is None:
            return self._own
        return Signature(renamed(self._own.inputs, configured.inputs, "input"), renamed(self._own.outputs, configured.outputs, "output"))

    def call(self, tensors: Dict[str, Any]) -> Any:
        """See the base class."""
        given = iter(tensors.values())
        leaves = [each.constant if each.spec is None else _converted(next(given), each.dtype) for each in self._slots]
        args, kwargs = self._unflatten(leaves, self._in_spec)
        return self._module(*args, **kwargs)


def _converted(tensor: Any, dtype: Any) -> Any:
    if dtype is None:
        return tensor
    return tensor.item() if dtype == "number" else tensor.to(dtype)


def _is_none(arg: Any) -> bool:
    return hasattr(arg, "value") and arg.value is None


def _first_length(value: Any, ranges: Mapping[Any, Any]) -> Optional[_Length]:
    if not value.shape or isinstance(value.shape[0], int):
        return None
    expression = value.shape[0].node.expr
    found = ranges.get(expression)
    least, most = (_limit(found.lower), _limit(found.upper)) if found is not None else (1, 0)
    return _Length(str(expression), least, most)


def _limit(bound: Any) -> int:
    """Return a limit as a number; 0 for one without an end."""
    try:
        number = int(bound)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return 0
    return number if 0 <= number < _LARGEST_LIMIT else 0


def _load(opening: Opening) -> Any:
    """Load a program onto the device, without unpickling anything but tensors."""
    torch = opening.torch
    devices = check_archive(opening.path)
    with tempfile.TemporaryDirectory(prefix="hubserve-export-") as folder:
        path = opening.path
        if opening.device.type == "cpu" and "cuda" in devices and not torch.cuda.is_available():
            path = Path(folder, opening.path.name)
            write_for_cpu(opening.path, path)
        with _only_weights(), _failures() as failed, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                program = torch.export.load(str(path))
            except Exception as error:
                raise (failed[-1] if failed else error) from None  # torch logs the cause, and raises that there was one
    others = [each for each in devices if each != opening.device.type and each in ("cpu", "cuda")]
    if not others:
        return program
    from torch.export.passes import move_to_device_pass

    return move_to_device_pass(program, str(opening.device))


@contextmanager
def _only_weights() -> Iterator[None]:
    before = os.environ.get(_ONLY_WEIGHTS)
    os.environ[_ONLY_WEIGHTS] = "1"
    try:
        yield
    finally:
        os.environ.pop(_ONLY_WEIGHTS)
        if before is not None:
            os.environ[_ONLY_WEIGHTS] = before


@contextmanager
def _failures() -> Iterator[List[BaseException]]:
    """Collect the exceptions that torch.export logs instead of raising."""
    found: List[BaseException] = []

    def collect(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            found.append(record.exc_info[1])
        return False

    loggers: Tuple[logging.Logger, ...] = (logging.getLogger("torch.export"), logging.getLogger("torch._export.serde.serialize"))
    for each in loggers:
        each.addFilter(collect)
    try:
        yield found
    finally:
        for each in loggers:
            each.removeFilter(collect)
