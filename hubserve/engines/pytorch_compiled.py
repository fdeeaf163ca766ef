"""Packages of AOTInductor: programs of ``torch.export`` that were compiled to native code."""

import json
import os
import platform
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from hubserve.engines.base import Signature
from hubserve.engines.pytorch_program import Batches, Opening, Program, outputs_of, placed, renamed, sample
from hubserve.engines.torch_trees import named_leaves
from hubserve.errors import LoadFailed
from hubserve.types import ANY, DTYPES, REST, TensorSpec

#: makes the compiled code compare datatypes and shapes with those that it was compiled for, instead of reading beyond a tensor's end
_CHECK = "AOTI_RUNTIME_CHECK_INPUTS"
_COMPILE = "Compile it again where it is served: torch._inductor.aoti_compile_and_package(program, package_path='model.pt2')"
#: one function of the generated source checks one input
_CHECKS = re.compile(r"static void check_input_(\d+)\((.*?)\n\}", re.DOTALL)
_DTYPE = re.compile(r"_expected_dtype = aoti_torch_dtype_(\w+)\(\)")
_FIXED = re.compile(r"\((\d+) != \w+_size\[(\d+)\]\)")
_LEAST = re.compile(r"_size\[(\d+)\] < (\d+)\)")
_MOST = re.compile(r"_size\[(\d+)\] > (\d+)\)")
_DIMENSION = re.compile(r"_(?:size|stride)\[(\d+)\]")
_LARGEST_SOURCE_BYTES = 64 << 20
#: lengths from here up are PyTorch's way to say that there is no limit
_LARGEST_LIMIT = 1 << 24
#: instruction sets in the order in which processors got them, as packages and torch name them
_SETS = ("DEFAULT", "AVX2", "AVX512")


class _Package(NamedTuple):
    """The facts that a package has without its code being run.

    Attributes:
        metadata: of the compilation: device, machine, and what its author added.
        source: the C++ that was compiled; "" if it is not in the package.
    """

    metadata: Mapping[str, str]
    source: str


class Compiled(Program):
    """A package of AOTInductor: native code, for one kind of machine.

    Its signature is in its metadata, as ``inputs`` and ``outputs``, where its author wrote it there; else it is read from the checks of its
    source.
    """

    by_place = True

    def __init__(self, opening: Opening) -> None:
        self._name = opening.path.name
        package = _read(opening.path)
        _check_machine(opening, package.metadata)
        os.environ.setdefault(_CHECK, "1")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._loader = opening.torch._inductor.aoti_load_package(str(opening.path)).loader
        tree = opening.torch.utils._pytree
        taken, given = (tree.treespec_loads(each) for each in self._loader.get_call_spec())
        self._unflatten, self._out_spec = tree.tree_unflatten, given
        self._own = _declared(package.metadata, self._name)
        self._inputs = list(self._own.inputs) if self._own else _inputs_in(package.source, _names(tree, taken))
        self._limits = _batches(package.source)

    def signature(self, configured: Optional[Signature], run: Callable[[Mapping[str, np.ndarray]], Dict[str, np.ndarray]]) -> Signature:
        """See the base class."""
        found = self._signature(configured, run)
        if all(each.shape[:1] == (ANY,) for side in found for each in side):
            self.batches = self._limits
        return found

    def _signature(self, configured: Optional[Signature], run: Callable[[Mapping[str, np.ndarray]], Dict[str, np.ndarray]]) -> Signature:
        if configured is not None:
            inputs = renamed(self._inputs, configured.inputs, "input") if self._inputs else placed(configured.inputs, [])
            own = self._own.outputs if self._own else self._found(run) if self._inputs else []
            return Signature(inputs, renamed(own, configured.outputs, "output") if own else placed(configured.outputs, []))
        if self._own:
            return self._own
        if not self._inputs:
            raise LoadFailed(
                f"'{self._name}' does not say what it takes: it has neither the source of its code nor 'inputs' and 'outputs' in its "
                "metadata. Set 'inputs' and 'outputs' for it, or input and output in its config.pbtxt"
            )
        return Signature(self._inputs, self._found(run))

    def _found(self, run: Callable[[Mapping[str, np.ndarray]], Dict[str, np.ndarray]]) -> List[TensorSpec]:
        """Find the outputs by computing two made-up batches, which the checks of the code keep from doing harm."""
        least = max(self._limits.least, 2)
        try:
            first, second = (run({each.name: sample(each, length) for each in self._inputs}) for length in (least, least + 1))
        except Exception:
            self.notes = ["what it gives could not be found out with a made-up batch, so float32 of any shape is taken for each output"]
            names = [name for name, _ in named_leaves(self._unflatten(list(range(self._out_spec.num_leaves)), self._out_spec))]
            return [TensorSpec(name, "float32", (REST,)) for name in names]
        return outputs_of(first, second)

    def call(self, tensors: Dict[str, Any]) -> Any:
        """See the base class."""
        return self._unflatten(self._loader.boxed_run(list(tensors.values())), self._out_spec)


def _read(path: Path) -> _Package:
    metadata: Dict[str, str] = {}
    source = ""
    with zipfile.ZipFile(str(path)) as archive:
        for entry in archive.infolist():
            if "/aotinductor/" not in entry.filename or entry.file_size > _LARGEST_SOURCE_BYTES:
                continue
            if entry.filename.endswith("wrapper_metadata.json"):
                metadata = {str(key): str(value) for key, value in json.loads(archive.read(entry)).items()}
            elif entry.filename.endswith(".wrapper.cpp"):
                source = archive.read(entry).decode("utf-8", "replace")
    return _Package(metadata, source)


def _check_machine(opening: Opening, metadata: Mapping[str, str]) -> None:
    """Refuse native code for another machine, which would end this process.

    Raises:
        LoadFailed: saying which machine it is for.
    """
    torch, name = opening.torch, opening.path.name
    wanted = (metadata.get("AOTI_PLATFORM", ""), metadata.get("AOTI_MACHINE", ""))
    here = (platform.system().lower(), platform.machine())
    if any(a and b and a != b for a, b in zip(wanted, here)):
        raise LoadFailed(f"'{name}' holds native code for {' '.join(wanted)}, and this machine is {' '.join(here)}. {_COMPILE}")
    device = metadata.get("AOTI_DEVICE_KEY", opening.device.type)
    if device != opening.device.type:
        advice = "Set use_gpu, or instance_group with KIND_GPU" if device == "cuda" else "Take use_gpu or KIND_GPU away"
        raise LoadFailed(
            f"'{name}' was compiled for the device '{device}', and is loaded for '{opening.device.type}'. {advice}, or compile it again "
            "for this one"
        )
    instructions = metadata.get("AOTI_CPU_ISA", "").split(" ")[0].upper()
    capability = getattr(torch.backends.cpu, "get_cpu_capability", lambda: _SETS[-1])()
    if instructions in _SETS and capability in _SETS and _SETS.index(instructions) > _SETS.index(capability):
        raise LoadFailed(f"'{name}' was compiled for processors with {instructions}, and this one has {capability} at most. {_COMPILE}")


def _declared(metadata: Mapping[str, str], name: str) -> Optional[Signature]:
    """Read the signature that an author wrote into the metadata."""
    if "inputs" not in metadata or "outputs" not in metadata:
        return None
    try:
        sides = [[_spec(each) for each in json.loads(metadata[side])] for side in ("inputs", "outputs")]
    except (ValueError, TypeError, KeyError) as error:
        raise LoadFailed(
            f"the metadata of '{name}' has inputs or outputs that cannot be read: {error!r}. Write them as JSON like "
            '[{"name": "x", "dtype": "float32", "shape": [-1, 3]}]'
        ) from None
    return Signature(*sides)


def _spec(described: Mapping[str, Any]) -> TensorSpec:
    if described["dtype"] not in DTYPES:
        raise ValueError(f"dtype {described['dtype']!r} is not one of {', '.join(DTYPES)}")
    return TensorSpec(str(described["name"]), str(described["dtype"]), tuple(int(each) for each in described["shape"]))


def _names(tree: Any, spec: Any) -> List[str]:
    """Return names for the leaves of the inputs; arguments without a name are ``INPUT__`` and their place."""
    args, kwargs = tree.tree_unflatten(list(range(spec.num_leaves)), spec)
    return [name for name, _ in named_leaves({**{f"INPUT__{place}": each for place, each in enumerate(args)}, **kwargs})]


def _inputs_in(source: str, names: Sequence[str]) -> List[TensorSpec]:
    """Read the inputs from the checks in the generated source; an empty list if it has none, or unknown ones."""
    found = []
    checks = [body for _, body in sorted(_CHECKS.findall(source), key=lambda each: int(each[0]))]
    if len(checks) != len(names):  # numbers among the arguments are constants of the code
        names = [f"INPUT__{place}" for place in range(len(checks))]
    for name, body in zip(names, checks):
        dtype, fixed = _DTYPE.search(body), {int(place): int(length) for length, place in _FIXED.findall(body)}
        if dtype is None or dtype.group(1) not in DTYPES:
            return []
        rank = max([int(place) for place in _DIMENSION.findall(body)] + [-1]) + 1
        found.append(TensorSpec(name, dtype.group(1), tuple(fixed.get(place, ANY) for place in range(rank))))
    return found


def _batches(source: str) -> Batches:
    """Read the limits of the first dimension from the checks in the generated source."""
    bodies = [body for _, body in _CHECKS.findall(source)]
    least = [int(number) for body in bodies for place, number in _LEAST.findall(body) if place == "0"]
    most = [int(number) for body in bodies for place, number in _MOST.findall(body) if place == "0"]
    limit = min(most) if most else 0
    return Batches(max([1, *least]), limit if limit < _LARGEST_LIMIT else 0)
