"""Plan how one version of one module is served."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubserve.gateway.ensembles.plan import EnsemblePlan
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.scheduling.batcher import BatchSettings
from hubserve.gateway.scheduling.sequence_plan import SequencePlan
from hubserve.kinds.base import ModuleInfo


@dataclass(frozen=True)
class ModulePlan:
    """The plan of one module version.

    Attributes:
        info: its metadata.
        instances: one specification for each instance.
        predict_args: arguments that a JSON request may override.
        batching: how requests are queued and merged.
        ready_timeout_s: an instance that has been silent for longer does not count as ready.
        sequences: how requests form sequences; None for a module without.
        response_cache_bytes: size of its response cache; 0 for none.
        config: of a Triton model: its configuration as known before it is loaded.
        ensemble: the dataflow of other modules that answers in place of instances.
        model_folder: the folder of a module without instances.
        latency_summaries: whether quantiles of its latencies are kept for ``/metrics``.
        error: why it cannot be served, for every request; "" if it can. It has no instances then.
    """

    info: ModuleInfo
    instances: list[InstanceSpec]
    predict_args: dict[str, Any] = field(default_factory=dict)
    batching: BatchSettings = field(default_factory=BatchSettings)
    ready_timeout_s: float = 30.0
    sequences: SequencePlan | None = None
    response_cache_bytes: int = 0
    config: dict[str, Any] | None = None
    ensemble: EnsemblePlan | None = None
    model_folder: Path | None = None
    latency_summaries: bool = False
    error: str = ""

    @property
    def folder(self) -> Path | None:
        """Its folder; None if it cannot be served."""
        return self.instances[0].folder if self.instances else self.model_folder
