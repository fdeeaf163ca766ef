"""OneFlow: graphs that ``flow.save`` stored, compiled for a few batch sizes."""

import math
from pathlib import Path
from typing import Dict, List, Optional

import numpy as np

from hubserve.engines.base import Engine, EngineOptions, ModelFiles, refuse_empty
from hubserve.engines.failures import computing, reason
from hubserve.engines.model_formats import FORMATS, backend_of_file
from hubserve.engines.oneflow_graph import Graph, Loader, import_oneflow, read_folder, read_weights, set_threads
from hubserve.engines.oneflow_job import NotResizable
from hubserve.engines.oneflow_trial import Reference, plain, try_graph
from hubserve.errors import InvalidInput, LoadFailed
from hubserve.types import ANY, TensorSpec, check_arrays, native

#: the largest compiled batch where no configuration says one
_LARGEST = 8
#: a larger batch is worth its memory if an item takes at most this share of its time in the size before
_WORTHWHILE = 0.9
#: a size between 1 and the largest is worth its memory from here on
_WITH_MIDDLE = 8


class OneFlowEngine(Engine):
    """OneFlow on the CPU or a GPU: folders that ``flow.save(graph, folder)`` wrote, without the graph's class.

    A stored graph computes batches of one size. It is rewritten for a few others, each of which is compiled when a batch first needs it; a
    batch is computed by the sizes that take least time together, the last of them filled up with copies of its items.
    """

    name = "oneflow"
    package = "oneflow"
    profile = "oneflow"
    has_gpu = True

    @classmethod
    def reads(cls, graph: Path) -> bool:
        """Return True for a folder with ``model.mlir``."""
        return backend_of_file(graph) == "oneflow"

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        folder = files.graph
        if not self.reads(folder):
            marker = FORMATS["oneflow"].marker
            raise LoadFailed(f"unable to find '{folder / marker}': give the engine 'oneflow' the folder that flow.save(graph, ...) wrote.")
        oneflow = import_oneflow()
        device = "cuda" if options.use_gpu else "cpu"
        if options.use_gpu and not oneflow.cuda.is_available():
            raise LoadFailed(
                "a GPU is asked for, and OneFlow finds none here. Check nvidia-smi and CUDA_VISIBLE_DEVICES, or compute on the CPU: "
                "KIND_CPU without gpus in the instance_group of config.pbtxt, or use_gpu false."
            )
        set_threads(oneflow, options.cpu_num_threads)
        tried = try_graph(folder, device, options.cpu_num_threads)
        stored = read_folder(oneflow, folder)
        ports = stored.ports
        self._loader = Loader(oneflow, stored, read_weights(folder, ports.variables), device)
        self._with_constants = tried.with_constants
        own = self._loader.compile()
        #: items in a batch -> its graph; None for one that could not be compiled
        self._graphs: Dict[int, Optional[Graph]] = {}
        self._reference: Optional[Reference] = None
        self._sizes: List[int] = []
        self._parts: Dict[int, List[int]] = {}
        first = ports.batch
        if tried.resizes and first is not None:
            self._reference = Reference(own, ports)
            own.measure(self._reference.items(first))
            self._sizes = sizes_for(first, options.max_batch_size)
            self._graphs[first] = own
            self._compiled(1)
            first = ANY
        self._own, self.counts_items = own, not tried.mixes
        self.inputs = [_spec(each.spec, first if tried.resizes else None) for each in ports.inputs]
        self.outputs = [_spec(each.spec, first if tried.resizes else None) for each in ports.outputs]
        self.settings = {
            "version": oneflow.__version__.split("+")[0],
            "device": device,
            "threads": options.cpu_num_threads,
            "precision": next(({"float16": "fp16", "float64": "fp64"}.get(each.spec.dtype, "fp32") for each in ports.inputs), "fp32"),
            "batch_sizes": self._sizes or [ports.batch or 1],
        }
        warnings = _warnings(tried.resizes, tried.why, tried.mixes, ports.batch)
        if warnings:
            self.settings["warnings"] = warnings

    def run(self, inputs: Dict[str, np.ndarray]) -> List[np.ndarray]:
        """See :meth:`Engine.run`."""
        check_arrays(self.inputs, inputs)
        refuse_empty(self.name, inputs)
        arrays = [np.ascontiguousarray(native(inputs[spec.name])) for spec in self.inputs]
        with computing(self.name, inputs):
            if not self._sizes:
                return self._own.run(arrays)
            counts = {len(each) for each in arrays}
            if len(counts) != 1:
                raise InvalidInput(f"all inputs must have the same number of items, got {sorted(counts)}")
            return self._run_items(arrays, counts.pop())

    def _run_items(self, arrays: List[np.ndarray], count: int) -> List[np.ndarray]:
        if count not in self._parts:
            self._compile_up_to(count)
            self._parts[count] = cheapest(self._costs(), count)
        found, start = [], 0
        for size in self._parts[count]:
            graph = self._graphs[size]
            assert graph is not None  # only compiled ones are chosen
            items = min(size, count - start)
            # real items, repeated: zeros may give what a client's data never does, such as a division by zero
            part = [each[start : start + size] if items == size else each[start + np.arange(size) % items] for each in arrays]
            found.append([each[:items] for each in graph.run(part)])
            start += items
        return found[0] if len(found) == 1 else [np.concatenate(each) for each in zip(*found)]

    def _costs(self) -> Dict[int, float]:
        return {size: graph.cost_s for size, graph in self._graphs.items() if graph}

    def _compile_up_to(self, count: int) -> None:
        """Compile what a batch may need: larger sizes only as long as each took less time for an item than the one before."""
        before = 0.0
        for size in self._sizes:
            self._compiled(size)
            per_item = self._costs().get(size, math.inf) / size
            if size >= count or (before and per_item > _WORTHWHILE * before):
                return
            before = per_item

    def _compiled(self, size: int) -> None:
        """Compile a size, unless that was done or failed, and compare its answers with those of the graph as it was saved."""
        if size in self._graphs or self._reference is None:
            return
        self._graphs[size] = None
        try:
            graph = self._loader.compile(size, self._with_constants)
            differs = self._reference.difference(graph, size)
            if not differs:
                graph.measure(self._reference.items(size))
                self._graphs[size] = graph
                self._parts.clear()
        except (NotResizable, LoadFailed, RuntimeError) as error:
            differs = plain(reason(error))
        if differs:
            self.settings = {**self.settings, "warnings": [f"batches of {size} are not compiled: {differs}"]}


def sizes_for(own: int, largest: int) -> List[int]:
    """Return the batch sizes that may be compiled, ascending: 1, the graph's own, the largest, and one between."""
    largest = largest if largest > 1 else _LARGEST
    middle = {2 ** round(math.log2(largest) / 2)} if largest >= _WITH_MIDDLE else set()
    return sorted({1, own, largest} | (middle if own == 1 else set()))


def cheapest(costs: Dict[int, float], count: int) -> List[int]:
    """Return the sizes that compute some items in the least time together, largest first.

    Args:
        costs: size -> seconds of one run.
        count: of items.
    """
    best: List[float] = [0.0]
    chosen = [0]
    for items in range(1, count + 1):
        size = min(costs, key=lambda each: (costs[each] + best[max(0, items - each)], each))
        best.append(costs[size] + best[max(0, items - size)])
        chosen.append(size)
    parts = []
    left = count
    while left > 0:
        parts.append(chosen[left])
        left -= chosen[left]
    return sorted(parts, reverse=True)


def _spec(spec: TensorSpec, first: Optional[int]) -> TensorSpec:
    return spec if first is None else spec._replace(shape=(first, *spec.shape[1:]))


def _warnings(resizes: bool, why: str, mixes: bool, batch: Optional[int]) -> List[str]:
    found = []
    if not resizes and batch is not None:
        found.append(f"the graph computes batches of {batch} only, the size that it was saved with: {why}")
    if mixes:
        found.append(
            "the items of a batch change one another's answers, as the graph was saved, so that requests are never merged: call eval() on "
            "the model before saving it if that was not meant"
        )
    return found
