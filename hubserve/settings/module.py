"""Settings of one module, in ``modules_info``."""

from typing import Annotated, Any

import msgspec

from hubserve.wire.certificates import TlsFiles

Count = Annotated[int, msgspec.Meta(ge=1)]
#: settings that name files of certificates for listeners on other machines
REMOTE_FILES = ("remote_cert", "remote_key", "remote_ca")
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class ModuleSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Settings of one module, in ``modules_info``."""

    init_args: dict[str, Any] = {}
    """Arguments of the module's constructor or ``_initialize``. ``version`` and ``directory`` select the installed version, or a folder
    or model file, to load."""
    predict_args: dict[str, Any] = {}
    """Default arguments of the serving method; a request may override them."""
    workers: Count | None = None
    """Number of instances of this module. Default: the server's ``workers``."""
    max_batch_size: Count | None = None
    """Maximum items per call. It can only lower the module's own limit."""
    preferred_batch_sizes: list[Count] = []
    """Batch sizes, in items, to merge requests up to. Empty: batch sizes are learned."""
    max_queue_delay_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Milliseconds to hold a request for a larger batch although an instance is idle."""
    max_queue_size: Count | None = None
    """Maximum number of queued requests; more are refused with 429. Default: the server's ``max_queue_size``."""
    max_queue_wait_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Milliseconds after which a queued request is refused. 0: no limit except the request's own timeout."""
    priority_levels: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Number of priority levels; 1 is computed first. 0: any integer is a priority, lower ones first."""
    default_priority_level: Count | None = None
    """Priority of requests that give none. Default: the middle one of ``priority_levels``."""
    preserve_ordering: bool = False
    """Send responses in the order in which requests arrived."""
    response_cache: bool = False
    """Answer a request with the cached response of an identical earlier one. Only for modules whose answers depend on the request alone."""
    load_timeout_s: Seconds = 300.0
    """Seconds that one instance may take to load."""
    compute_timeout_s: Seconds | None = None
    """Seconds that one batch may take before its instance counts as hung and is replaced. Default: the server's
    ``request_timeout_s``."""
    addresses: list[str] = []
    """``host:port`` of listeners on other machines (``python -m hubserve.instance --listen``). One instance runs at each address, and
    ``workers`` is ignored. The module's folder must have the same path there."""
    token_file: str = ""
    """File of the key shared with the listeners at ``addresses``; ``hub key remote FILE`` creates one."""
    remote_cert: str = ""
    """Instead of ``token_file``: PEM file of the certificate with which the server proves to the listeners who it is."""
    remote_key: str = ""
    """PEM file of that certificate's private key."""
    remote_ca: str = ""
    """PEM file of the authorities that the listeners' certificates must come from; they must be for the hosts in ``addresses``."""
    max_memory_mb: Count | None = None
    """Resident memory in MB at which an instance is replaced by a fresh one, between two batches."""
    allowed_addresses: list[str] = []
    """Addresses that a tiinfer script may fetch by ``urllib`` while it answers, because clients can send URLs: host names
    (``"pictures.example.com"``), all names of a domain (``"*.example.com"``) or ``"*"`` for all, which lead to public addresses only;
    IP addresses and networks (``"10.1.0.0/16"``). Empty: none."""
    environ: dict[str, str] = {}
    """Environment variables of the instances; they override those that the module sets."""
    environment: str = ""
    """Environment profile to run in, or ``host`` for the Python of ``hub``. Default: the environment chosen at installation."""
    library_path: list[str] = []
    """Folders put in front of ``LD_LIBRARY_PATH``; relative ones are resolved beside the configuration file."""
    gpu: str | int | None = None
    """GPUs of this module, such as ``"0,1"``; its instances are spread over them, and its constructor gets ``use_gpu=True`` if it
    takes that argument. ``""`` hides all GPUs. Default: the server's ``gpu``."""

    @property
    def certificates(self) -> TlsFiles | None:
        """Files of the certificate for listeners; None if they share a key, or there are none."""
        return TlsFiles(self.remote_cert, self.remote_key, self.remote_ca) if self.remote_cert else None
