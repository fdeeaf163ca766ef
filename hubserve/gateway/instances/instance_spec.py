"""Specify what an instance runs, where and how."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubserve.module import THREADS_VARIABLE
from hubserve.paths import home
from hubserve.registry.instance_command import instance_environment
from hubserve.types import TensorSpec, specs_to_json
from hubserve.wire.certificates import TlsFiles


@dataclass(frozen=True)
class InstanceSpec:
    """The specification of one instance.

    Attributes:
        module: the served name, for messages.
        kind, folder, import_name, init_args, defaults: as :meth:`hubserve.kinds.base.Kind.load` takes them.
        max_batch_size: a limit below the module's own; 0 for none.
        search_path: folders in which relative model paths are looked up.
        threads: cores that it may compute with.
        decode_ahead: decode the pictures of the next batch while one is computed: useful if a core is free then.
        environ: further environment variables.
        load_timeout_s: how long it may take to load.
        compute_timeout_s: how long one batch may take before the instance counts as hung.
        max_memory_mb: resident MB at which it is replaced; 0 for no bound.
        python: the interpreter that it runs in; "" for the gateway's own.
        address: ``host:port`` of a listener on another machine (:mod:`hubserve.instance.remote_listener`); "" for this machine.
        token_file: with ``address``: the file of the key that is shared with it (:mod:`hubserve.wire.tls`).
        certificates: with ``address``, instead: files of a certificate (:mod:`hubserve.wire.peer_certificates`).
        extra_inputs: inputs of its model that clients do not send, in the shape of one item.
        warm_up: samples that it computes before it is ready, as :mod:`hubserve.instance.warmup` takes them; None for one item of zeros.
        nan: how JSON answers show numbers that are not finite: "null", "error" or "token".
        version: as served, for messages.
        number: of the instance among those of its module, for messages; ``page`` for the module's page.
    """

    module: str
    kind: str
    folder: Path
    import_name: str
    init_args: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    max_batch_size: int = 0
    search_path: Sequence[Path] = ()
    threads: int = 1
    decode_ahead: bool = False
    environ: dict[str, str] = field(default_factory=dict)
    load_timeout_s: float = 300.0
    compute_timeout_s: float = 300.0
    max_memory_mb: int = 0
    python: str = ""
    address: str = ""
    token_file: str = ""
    certificates: TlsFiles | None = None
    extra_inputs: Sequence[TensorSpec] = ()
    warm_up: Sequence[dict[str, Any]] | None = None
    nan: str = "null"
    version: str = ""
    number: int | str = 0

    def log_fields(self) -> dict[str, str]:
        """Return the fields by which lines of the log name the instance."""
        return {"module_name": self.module, "version": self.version, "instance": str(self.number)}

    def load_order(self, measure: bool) -> dict[str, Any]:
        """Return the header of the ``load`` frame.

        Args:
            measure: whether the instance measures how long batches take.
        """
        return {
            "op": "load",
            "kind": self.kind,
            "folder": str(self.folder),
            "import_name": self.import_name,
            "init_args": self.init_args,
            "defaults": self.defaults,
            "max_batch_size": self.max_batch_size,
            "measure": measure,
            "decode_ahead": self.decode_ahead,
            "extra_inputs": specs_to_json(self.extra_inputs),
            "warm_up": None if self.warm_up is None else list(self.warm_up),
            "nan": self.nan,
            "compute_timeout_s": self.compute_timeout_s,
            "shown_as": f"{self.module}@{self.version}#{self.number}",
        }

    def full_environ(self) -> dict[str, str]:
        """Return the environment variables of the process."""
        return {
            **instance_environment(home(), self.search_path, self.python),
            "PYTHONUNBUFFERED": "1",
            THREADS_VARIABLE: str(self.threads),
            # numerical libraries start a thread per core each by default; a user's own setting wins
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(self.threads)),
            **self.environ,
        }
