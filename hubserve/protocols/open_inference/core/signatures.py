"""Describe each module's inputs and outputs as tensors of the protocol, whatever its kind.

A module with tensors keeps them; if it also takes pictures, its one input may be sent as BYTES, encoded pictures. A module that answers
JSON has one input ``arguments`` and one output ``results``, BYTES of shape [1] that hold JSON; one that takes complete pictures has an
input ``pictures`` that may be sent instead of the arguments.
"""

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from hubserve.bounded_cache import BoundedCache
from hubserve.errors import HubError, usage_sentence
from hubserve.gateway.dataplane import ServedModule
from hubserve.gateway.ensembles.plan import EnsembleStep
from hubserve.kinds.description import Interface
from hubserve.protocols.open_inference.core.datatypes import DATATYPE_OF, config_type_of
from hubserve.types import ANY, BYTES, REST, TensorSpec

ARGUMENTS = TensorSpec("arguments", BYTES, (1,))
PICTURES = TensorSpec("pictures", BYTES, (ANY,))
RESULTS = TensorSpec("results", BYTES, (1,))

_MAX_LAYOUTS = 256


class Signature:
    """Inputs and outputs of one loaded module.

    Args:
        module: loaded.
        step_labels: returns the labels of an output of an ensemble's step; by default steps have none.

    Attributes:
        name, version: the module's.
        has_tensors: whether its inputs and outputs are tensors of its own, rather than JSON and pictures.
        takes_pictures: whether encoded pictures may be sent: in place of its one tensor, or as ``pictures``.
        is_batched: whether the first dimension of its tensors is the batch.
        inputs, outputs: name to specification, in the order of the model's configuration.
        optional: names of inputs that may be left out.
        may_lack_inputs: whether a request without any input is valid.
        datatypes: name of an input -> the protocol's datatype.
        max_batch_size: most items of one request; 0 for no limit.
        accepted_layouts: layouts of requests that have passed all checks.
    """

    def __init__(self, module: ServedModule, step_labels: Callable[[EnsembleStep, str], list[str]] = lambda *_: []) -> None:
        self.module = module
        self._step_labels = step_labels
        self.name, self.version = module.plan.info.name, module.plan.info.version
        described = module.description
        self.has_tensors = Interface.TENSORS in described.interfaces
        self.takes_pictures = Interface.PICTURE in described.interfaces and (described.picture_item is not None or not self.has_tensors)
        self.is_batched = self.has_tensors and described.batched
        inputs, outputs = described.inputs, described.outputs
        if not self.has_tensors:
            inputs = [ARGUMENTS] if Interface.JSON in described.interfaces else []
            inputs, outputs = [*inputs, *([PICTURES] if self.takes_pictures else [])], [RESULTS]
        self.inputs = {spec.name: spec for spec in inputs}
        self.outputs = {spec.name: spec for spec in outputs}
        self.optional = set(described.optional) if self.has_tensors else set(self.inputs)
        self.may_lack_inputs = self.has_tensors and self.optional >= self.inputs.keys()
        self.datatypes = {spec.name: DATATYPE_OF[spec.dtype] for spec in inputs}
        self.max_batch_size = int(described.config.get("max_batch_size") or 0) if described.config else 0
        self.accepted_layouts: BoundedCache[Hashable, None] = BoundedCache(_MAX_LAYOUTS)
        self._labels: dict[str, list[str]] = {}

    @property
    def usage(self) -> str:
        """The rest of a message about a wrong request: the arguments of a module that takes JSON; else ""."""
        if self.has_tensors or ARGUMENTS.name not in self.inputs or not self.module.description.usage:
            return ""
        return f"{usage_sentence(self.module.description.usage)}, as the text in input '{ARGUMENTS.name}'"

    def metadata(self, versions: list[str]) -> dict[str, Any]:
        """Return the protocol's model metadata.

        Args:
            versions: served by this name.
        """
        config = self.module.description.config or {}
        return {
            "name": self.name,
            "versions": versions,
            "platform": config.get("platform") or config.get("backend") or self.module.plan.info.kind,
            "inputs": [self._tensor(spec) for spec in self.inputs.values()],
            "outputs": [self._tensor(spec) for spec in self.outputs.values()],
        }

    def _tensor(self, spec: TensorSpec) -> dict[str, Any]:
        return {"name": spec.name, "datatype": DATATYPE_OF[spec.dtype], "shape": self.shape_of(spec)}

    def shape_of(self, spec: TensorSpec) -> list[int]:
        """Return a specification's shape, with -1 for the batch dimension."""
        shape = [ANY, *spec.shape[1:]] if self.is_batched else spec.shape
        return [length for length in shape if length != REST]

    def config(self) -> dict[str, Any]:
        """Return the JSON form of ``inference.ModelConfig``: a Triton model's own, or an equivalent one for other modules."""
        described = self.module.description
        if described.config is not None:
            return described.config
        inputs = [
            {
                "name": spec.name,
                "data_type": config_type_of(DATATYPE_OF[spec.dtype]),
                "format": "FORMAT_NONE",
                "dims": self._dims(spec),
                "is_shape_tensor": False,
                "allow_ragged_batch": False,
                "optional": len(self.inputs) > 1 and spec.name in self.optional,
            }
            for spec in self.inputs.values()
        ]
        outputs = [
            {
                "name": spec.name,
                "data_type": config_type_of(DATATYPE_OF[spec.dtype]),
                "dims": self._dims(spec),
                "label_filename": "",
                "is_shape_tensor": False,
            }
            for spec in self.outputs.values()
        ]
        config = {
            "name": self.name,
            "platform": "",
            "backend": self.module.plan.info.kind,
            "version_policy": {"latest": {"num_versions": 1}},
            "max_batch_size": described.max_batch_size if self.is_batched else 0,
            "input": inputs,
            "output": outputs,
            "batch_input": [],
            "batch_output": [],
            "instance_group": [
                {"name": self.name, "kind": "KIND_AUTO", "count": len(self.module.plan.instances), "gpus": [], "profile": []}
            ],
            "default_model_filename": "",
            "cc_model_filenames": {},
            "metric_tags": {},
            "parameters": {},
            "model_warmup": [],
        }
        if self.is_batched and described.max_batch_size > 1:
            batching = self.module.plan.batching
            config["dynamic_batching"] = {
                "preferred_batch_size": list(batching.preferred_sizes),
                "max_queue_delay_microseconds": round(batching.max_delay_s * 1e6),
            }
        if described.decoupled:
            config["model_transaction_policy"] = {"decoupled": True}
        return config

    def _dims(self, spec: TensorSpec) -> list[int]:
        # a configuration's dims omit the batch; a tensor of one number per item has [1]
        dims = [length for length in spec.shape if length != REST]
        return (dims[1:] or [1]) if self.is_batched else dims

    def labels(self, output: str) -> list[str]:
        """Return the class labels of an output, by index; empty if its model has none.

        An ensemble's output without labels has those of the step that produces it.

        Raises:
            HubError: the configured label file cannot be read.
        """
        if output not in self._labels:
            self._labels[output] = self._read_labels(output)
        return self._labels[output] or self._labels_of_step(output)

    def _labels_of_step(self, output: str) -> list[str]:
        ensemble = self.module.plan.ensemble  # not cached: its steps may be reloaded with others
        sources = ((step, name) for step in ensemble.steps for name, tensor in step.outputs.items() if tensor == output) if ensemble else ()
        return next((self._step_labels(step, name) for step, name in sources), [])

    def _read_labels(self, output: str) -> list[str]:
        described = self.module.description
        own = list(described.labels.get(output, [])) if described.labels else []
        if described.config is None:
            return own
        files = {each.get("name"): each.get("label_filename") for each in described.config.get("output", [])}
        if not files.get(output):
            return own
        path = Path(self.module.plan.folder or "", files[output])
        try:
            return [line.strip() for line in path.read_text("utf-8", "replace").splitlines()]
        except OSError as error:
            raise HubError(f"cannot read the labels of output '{output}' of '{self.name}': '{path}': {error.strerror}") from None
