"""Compile a graph that OneFlow stored, without its class, for one batch size, and run it."""

import atexit
import os
import time
import weakref
from itertools import count
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from hubserve.engines.failures import reason
from hubserve.engines.oneflow_job import Port, Ports, place_on, ports_of, resize
from hubserve.engines.package_imports import import_package
from hubserve.errors import LoadFailed

_INSTALL = "It runs in an environment of its own: build it with: hub env build oneflow"
#: OneFlow logs through glog, of which 3 is the level of what ends the process
_FATAL_ONLY = {"GLOG_minloglevel": "3"}
_numbers = count()
_open: "weakref.WeakSet[Graph]" = weakref.WeakSet()


class Stored(NamedTuple):
    """A model's folder, read.

    Attributes:
        job: the serialized ``Job``.
        text: of ``model.mlir``.
        ports: its inputs, outputs and variables.
    """

    job: bytes
    text: str
    ports: Ports


def import_oneflow() -> Any:
    """Import ``oneflow`` quietly.

    Raises:
        MissingDependency: it is not installed here.
    """
    for name, value in _FATAL_ONLY.items():
        os.environ.setdefault(name, value)
    oneflow = import_package("oneflow", "the oneflow engine", _INSTALL)
    atexit.unregister(_close_all)
    atexit.register(_close_all)  # behind OneFlow's own, and so before it: that one waits for ever for graphs that are still open
    return oneflow


def set_threads(oneflow: Any, threads: int) -> None:
    """Let one call use this many threads; by default it uses all cores, and OneFlow warns where that is asked for."""
    if threads < (os.cpu_count() or 1):
        oneflow.set_num_threads(threads)


def _close_all() -> None:
    for each in list(_open):
        each.close()


def _part(name: str) -> Any:
    return import_package(f"oneflow.{name}", "the oneflow engine", _INSTALL)


def parse_job(serialized: bytes) -> Any:
    """Return a serialized ``Job`` as a message."""
    job = _part("core.job.job_pb2").Job()
    job.ParseFromString(serialized)
    return job


def read_folder(oneflow: Any, folder: Path) -> Stored:
    """Read ``model.mlir``. A damaged one ends the process, with the reason on stderr."""
    path = folder / "model.mlir"
    serialized = oneflow._oneflow_internal.nn.graph.LoadSerializedJobFromIR(str(path))
    job = parse_job(serialized)
    return Stored(serialized, path.read_text("utf-8", "replace"), ports_of(job))


def read_weights(folder: Path, variables: Sequence[Port]) -> Dict[str, np.ndarray]:
    """Read the raw file of each variable, ``<variable>/out``.

    Raises:
        LoadFailed: one is missing, outside the folder, or has another length than its shape needs.
    """
    found, inside = {}, folder.resolve()
    for each in variables:
        path = folder / each.operator / "out"
        if inside not in path.resolve().parents or not path.is_file():
            raise LoadFailed(
                f"the weights of '{each.operator}' are missing from '{folder}': there is no file '{each.operator}/out'. Copy the whole "
                "folder that flow.save wrote."
            )
        needed = int(np.prod(each.spec.shape, dtype=np.int64)) * np.dtype(each.spec.dtype).itemsize
        if path.stat().st_size != needed:
            raise LoadFailed(
                f"the weights file '{path}' has {path.stat().st_size} bytes, and {each.spec.dtype} of shape {list(each.spec.shape)} needs "
                f"{needed}: it was cut short, or belongs to another model. Copy the whole folder that flow.save wrote again."
            )
        found[each.operator] = np.fromfile(str(path), each.spec.dtype).reshape(each.spec.shape)
    return found


class Loader:
    """Compiles graphs of one stored model, which share its weights.

    Args:
        oneflow: the package.
        stored: the model.
        weights: the variables by name.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, oneflow: Any, stored: Stored, weights: Dict[str, np.ndarray], device: str) -> None:
        self.stored = stored
        self.device = device
        self._flow = oneflow
        self._weights = [self.tensor(weights[each.operator]) for each in stored.ports.variables]

    def tensor(self, array: np.ndarray) -> Any:
        """Copy an array into a tensor on the device."""
        return self._flow.tensor(array, device=self.device)

    def compile(self, size: Optional[int] = None, with_constants: bool = False) -> "Graph":
        """Compile the graph for one batch size; None for its own.

        Raises:
            NotResizable: it cannot be rewritten.
            LoadFailed: OneFlow cannot compile it. Some graphs that contradict themselves end the process.
        """
        job = parse_job(self.stored.job)
        if size is not None and size != self.stored.ports.batch:
            resize(job, self.stored.ports, self.stored.text, size, with_constants)
        try:
            return Graph(self._flow, self, job, self._weights)
        except RuntimeError as error:
            raise LoadFailed(f"OneFlow cannot compile the graph in model.mlir: {reason(error)}.", detail=str(error)) from error


class Graph:
    """One compiled graph.

    Attributes:
        cost_s: seconds that a run takes; 0 before :meth:`measure`.
    """

    def __init__(self, oneflow: Any, loader: Loader, job: Any, weights: List[Any]) -> None:
        internal, build = oneflow._oneflow_internal, _part("framework.graph_build_util")
        self._tuple: Any = _part("framework.tensor_tuple_util").convert_to_tensor_tuple
        self._flow, self._loader, self._graphs = oneflow, loader, internal.nn.graph
        self.cost_s = 0.0
        ports = ports_of(job)
        self._outputs = ports.outputs
        name = f"hubserve_{os.getpid()}_{next(_numbers)}"
        session = _part("framework.session_context").GetDefaultSession()
        session.TryInit()
        conf = _part("core.job.job_conf_pb2").JobConfigProto()
        conf.job_name = name
        conf.predict_conf.SetInParent()
        with build.graph_build_context(conf, session):
            place_on(job, loader.device, name, internal.GetCurrentScope().symbol_id)
            job_id = internal.JobBuildAndInferCtx_GetCurrentJobId()
        self._graph = internal.nn.graph.CNNGraph(name, job.SerializeToString(), job_id, session._session_ctx)
        inputs = [loader.tensor(np.zeros(each.spec.shape, each.spec.dtype)) for each in ports.inputs]
        outputs = [loader.tensor(np.zeros(each.spec.shape, each.spec.dtype)) for each in ports.outputs]
        self._given, self._variables = self._tuple(outputs), self._tuple(weights)
        self._graph.register_input_op_names_and_tensors([each.operator for each in ports.inputs], self._tuple(inputs))
        self._graph.register_output_op_names_and_tensors([each.operator for each in ports.outputs], self._given)
        self._graph.register_variable_op_names_and_tensors([each.operator for each in ports.variables], self._variables)
        internal.eager.Sync()
        self._graph.complie_and_init_runtime()
        self._graphs.SoftSyncNNGraphBuffers(self._given, self._graph)
        _open.add(self)

    def close(self) -> None:
        """Wait for its runs, and free it."""
        self._flow._oneflow_internal.eager.Sync()
        self._graph = self._given = None

    def run(self, arrays: Sequence[np.ndarray]) -> List[np.ndarray]:
        """Compute one batch of exactly this graph's shapes; the arrays that it returns stay valid."""
        tensors = [self._loader.tensor(array) for array in arrays]
        self._graphs.RunLazyNNGraph(self._tuple(tensors), self._given, self._variables, self._graph)
        copies = [each.to(copy=True) for each in self._given]
        # Before the copies are read: in the other order answers were wrong, and runs hung.
        self._graphs.SoftSyncNNGraphBuffers(self._given, self._graph)
        return [each.numpy() for each in copies]

    def measure(self, arrays: Sequence[np.ndarray], runs: int = 3) -> None:
        """Time runs, the first of which also prepares memory."""
        self.run(arrays)
        took = []
        for _ in range(runs):
            start = time.perf_counter()
            self.run(arrays)
            took.append(time.perf_counter() - start)
        self.cost_s = min(took)
