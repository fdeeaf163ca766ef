"""Read the graph that OneFlow stored, and rewrite it for another batch size or device. Nothing here imports OneFlow.

A job is OneFlow's ``Job`` message (``oneflow.core.job.job_pb2``): operators by name, each with the names of the tensors that it reads. It
has no shapes but those of its inputs, outputs and variables; the text of ``model.mlir`` has one for every operator.
"""

import math
import re
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from hubserve.errors import LoadFailed
from hubserve.types import TensorSpec

#: OneFlow's number of a datatype (``oneflow/core/common/data_type.proto``) -> numpy's name
DTYPES = {2: "float32", 3: "float64", 4: "int8", 5: "int32", 6: "int64", 7: "uint8", 9: "float16", 14: "bool"}
_NAMES = {**{number: "k" + name.title() for number, name in DTYPES.items()}, 17: "kBFloat16", 1: "kChar"}
_PLACE = re.compile(r"_(?:input|output)\.(.+)_([0-9]+)$")
_OPERATOR = re.compile(r'op_name = "((?:[^"\\]|\\.)*)".*\} ?: (.*)$')
_TENSOR = re.compile(r"tensor<((?:[0-9]+x)*)[a-z][^>]*>")

Shape = Tuple[int, ...]


class NotResizable(Exception):
    """The graph has its batch size in a place that cannot be rewritten; the text says which."""


class Port(NamedTuple):
    """One input, output or variable: the name of its operator, and what it is."""

    operator: str
    spec: TensorSpec


class Ports(NamedTuple):
    """The inputs and outputs in the order of the graph's call, and the variables."""

    inputs: Sequence[Port]
    outputs: Sequence[Port]
    variables: Sequence[Port]

    @property
    def batch(self) -> Optional[int]:
        """The first length of all inputs and outputs; None if they have none in common."""
        firsts = {each.spec.shape[:1] for each in (*self.inputs, *self.outputs)}
        first = next(iter(firsts), ())
        return first[0] if len(firsts) == 1 and first and first[0] > 0 else None


def ports_of(job: Any) -> Ports:
    """Return the inputs and outputs of a job, named ``INPUT_<i>`` and ``OUTPUT_<i>``, and its variables under their own names.

    Raises:
        LoadFailed: a datatype cannot be served, or there is no output.
    """
    found: Dict[str, List[Any]] = {"input_conf": [], "output_conf": [], "variable_conf": []}
    for operator in job.net.op:
        found.get(operator.WhichOneof("op_type"), []).append(operator)
    inputs = [_port(each, each.input_conf.blob_conf, f"INPUT_{i}") for i, each in enumerate(sorted(found["input_conf"], key=place_in_call))]
    outputs = [
        _port(each, each.output_conf.blob_conf, f"OUTPUT_{i}") for i, each in enumerate(sorted(found["output_conf"], key=place_in_call))
    ]
    if not outputs:
        raise LoadFailed("the graph in model.mlir has no outputs. Let build() return tensors, and save the graph again.")
    return Ports(inputs, outputs, [_port(each, each.variable_conf, each.name) for each in found["variable_conf"]])


def _port(operator: Any, described: Any, name: str) -> Port:
    if described.data_type not in DTYPES:
        known = ", ".join(sorted(DTYPES.values()))
        datatype = _NAMES.get(described.data_type, f"number {described.data_type}")
        raise LoadFailed(f"tensor '{name}' has OneFlow's datatype {datatype}, which cannot be served. Save the graph with one of {known}.")
    return Port(operator.name, TensorSpec(name, DTYPES[described.data_type], tuple(described.shape.dim)))


def place_in_call(operator: Any) -> Any:
    """Return the position that an operator's name gives: ``_G_1_output.0.0.1_4`` is number 0.0.1 of the outputs."""
    matched = _PLACE.search(operator.name)
    if matched is None:
        return [(2, 0, operator.name)], 0
    parts = matched.group(1).split(".")
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts], int(matched.group(2))


def place_on(job: Any, device: str, name: str, scope: int) -> None:
    """Give a job a name, and place all of its operators on one device, ``cpu`` or ``cuda``, whichever it was saved on.

    Args:
        job: changed in place.
        device: for all operators.
        name: one that no other job of this process has.
        scope: number of a scope of this process, in place of those of the process that saved it.
    """
    job.job_conf.job_name = name
    job.job_conf.predict_conf.SetInParent()
    for operator in job.net.op:
        operator.device_tag = device
        operator.scope_symbol_id = scope
    groups = [*job.placement.placement_group, *job.placement.blob_placement_group]
    for conf in (each.parallel_conf for each in groups):
        conf.device_tag = device
        conf.device_name[:] = ["@0:0"]  # the first that this process sees, wherever it was saved
        conf.hierarchy.dim[:] = [1]


def shapes_of(text: str) -> Dict[str, Tuple[List[Shape], List[Shape]]]:
    """Return the shapes of what each operator reads and gives, by its name, from the text of ``model.mlir``."""
    found = {}
    for line in text.splitlines():
        matched = _OPERATOR.search(line)
        if matched:
            read, _, given = matched.group(2).rpartition("->")
            found[matched.group(1)] = (_shapes(read), _shapes(given))
    return found


def _shapes(types: str) -> List[Shape]:
    return [tuple(int(length) for length in each.split("x") if length) for each in _TENSOR.findall(types)]


def resize(job: Any, ports: Ports, text: str, size: int, with_constants: bool) -> None:
    """Rewrite a job for another batch size, as far as its shapes can be followed; trying it shows whether that was right.

    Args:
        job: changed in place.
        ports: its own.
        text: of ``model.mlir``.
        size: items in a batch.
        with_constants: whether tensors that depend on no input, such as a class token that was expanded to the batch, have a batch, too.
    Raises:
        NotResizable: an operator has the batch in it in a form that cannot be rewritten.
    """
    batch = ports.batch
    if batch is None:
        raise NotResizable("its inputs and outputs have no first length in common")
    for operator in job.net.op:
        kind = operator.WhichOneof("op_type")
        if kind in ("input_conf", "output_conf"):
            getattr(operator, kind).blob_conf.shape.dim[0] = size
    tracker = _Tracker(shapes_of(text), batch, size, with_constants)
    tracker.axes.update({f"{each.operator}/{job_out(job, each.operator)}": 0 for each in ports.inputs})
    for operator in _in_order(job):
        tracker.follow(operator)


def job_out(job: Any, name: str) -> str:
    """Return the name of the tensor that an input's operator gives."""
    return next(str(each.input_conf.out) for each in job.net.op if each.name == name)


def _in_order(job: Any) -> Iterator[Any]:
    """Yield the operators with a type of their own, each after those whose tensors it reads."""
    waiting = [each for each in job.net.op if each.HasField("user_conf")]
    made = {name.partition("/")[0] for name in (each.name for each in job.net.op if not each.HasField("user_conf"))}
    while waiting:
        later = []
        for operator in waiting:
            if all(name.partition("/")[0] in made for name in _read(operator)):
                made.add(operator.name)
                yield operator
            else:
                later.append(operator)
        if len(later) == len(waiting):
            raise NotResizable(f"its operators read one another in a circle ({later[0].name})")
        waiting = later


def _read(operator: Any) -> List[str]:
    order = list(operator.user_conf.input_order) or sorted(operator.user_conf.input)
    return [name for key in order for name in operator.user_conf.input[key].s]


class _Tracker:
    """Follow the dimension that holds the batch from operator to operator, and scale what their attributes say of it."""

    def __init__(self, shapes: Mapping[str, Any], batch: int, size: int, with_constants: bool) -> None:
        self._shapes = shapes
        self._batch = batch
        self._size = size
        self._with_constants = with_constants
        #: tensor -> its dimension of which the batch is the outer part
        self.axes: Dict[str, int] = {}

    def follow(self, operator: Any) -> None:
        """Rewrite one operator, and note the batch's dimension in what it gives."""
        conf, kind = operator.user_conf, operator.user_conf.op_type_name
        names = _read(operator)
        read, given = self._shapes.get(operator.name, ([], []))
        batched = [(self.axes[name], read[i]) for i, name in enumerate(names) if name in self.axes and i < len(read)]
        if not given or (not batched and any(name in self.axes for name in names)):
            raise NotResizable(f"the shapes of its operator {operator.name} are not in model.mlir")
        if not batched:
            axis = self._source(conf, kind)
        elif kind == "reshape":
            axis = self._reshape(conf, *batched[0])
        elif kind == "expand":
            axis = batched[0][0] + len(given[0]) - len(batched[0][1])
            self._scale(conf.attr["expand_shape"].at_shape.dim, axis)
        elif kind == "transpose":
            axis = [int(each) for each in conf.attr["perm"].at_list_int32.val].index(batched[0][0])
        elif kind == "slice":
            axis = self._slice(operator, *batched[0])
        else:
            axis = _kept(conf, kind, batched, given[0])
        if axis is not None:
            for each in conf.output.values():
                self.axes.update(dict.fromkeys(each.s, axis))

    def _scale(self, lengths: Any, axis: int) -> None:
        if not 0 <= axis < len(lengths) or lengths[axis] % self._batch:
            raise NotResizable(f"a shape in it, {list(lengths)}, does not divide by its batch of {self._batch}")
        lengths[axis] = lengths[axis] // self._batch * self._size

    def _source(self, conf: Any, kind: str) -> Optional[int]:
        field = {"constant": "shape", "expand": "expand_shape"}.get(kind)
        lengths = conf.attr[field].at_shape.dim if field else []
        if not self._with_constants or not lengths or lengths[0] != self._batch:
            return None
        lengths[0] = self._size
        return 0

    def _reshape(self, conf: Any, axis: int, shape: Shape) -> int:
        lengths = conf.attr["shape"].at_shape.dim
        before = math.prod(shape[:axis])
        for index in range(len(lengths)):
            if math.prod(lengths[:index]) == before and lengths[index] % self._batch == 0:
                self._scale(lengths, index)
                return index
        raise NotResizable(f"it reshapes {list(shape)} to {list(lengths)}, where the batch is not the outer part of a dimension")

    def _slice(self, operator: Any, axis: int, shape: Shape) -> int:
        attr = operator.user_conf.attr
        start, stop, step = (attr[key].at_list_int64.val for key in ("start", "stop", "step"))
        if (start[axis], stop[axis], step[axis]) != (0, shape[axis], 1):
            raise NotResizable(f"its operator {operator.name} takes a part of the batch")
        stop[axis] = shape[axis] // self._batch * self._size
        return axis


def _kept(conf: Any, kind: str, batched: Sequence[Tuple[int, Shape]], given: Shape) -> int:
    """Return the batch's dimension behind an operator that keeps the order of dimensions."""
    axis, shape = max(batched, key=lambda each: len(each[1]))  # of the operand with most dimensions
    if kind.startswith("reduce_") and not conf.attr["keepdims"].at_bool:
        removed = [int(each) % len(shape) for each in conf.attr["axis"].at_list_int32.val]
        return axis - sum(each < axis for each in removed)
    if kind.startswith("broadcast_") and len(given) > len(shape):
        return axis + len(given) - len(shape)
    return axis
