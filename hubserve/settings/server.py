"""Settings of a server."""

import os
from typing import Annotated, Literal

import msgspec

from hubserve.engines.gpus import HIDDEN, VISIBLE, has_gpu, listed_gpus, why_no_gpu
from hubserve.errors import ConfigError
from hubserve.settings.module import Count, ModuleSettings, Seconds
from hubserve.settings.observability import Port
from hubserve.settings.security import SecuritySettings

DEFAULT_PORT = 8866
_USUAL_INSTANCE_BYTES = 1 << 30
_MOST_INSTANCES = 8


class ServerSettings(SecuritySettings, forbid_unknown_fields=True, frozen=True):
    """Settings of a server."""

    modules_info: dict[str, ModuleSettings] = {}
    """Module names and their settings (see module settings)."""
    model_store: list[str] = []
    """Folders of Triton model repositories to serve too, or addresses of them (``s3://BUCKET/FOLDER``, ...); relative folders are resolved
    beside the configuration file. ``modules_info`` may hold settings of their models."""
    model_control: Literal["none", "poll", "explicit"] = "none"
    """``none``: serve all models of the stores as they are at start-up. ``poll``: also follow changes of the folders. ``explicit``: serve
    ``load_model`` and the models that clients load."""
    load_model: list[str] = []
    """Models to load at start-up when ``model_control`` is ``explicit``; ``"*"`` for all."""
    build_environments: bool = False
    """Build the environments of engines that models need and that do not exist yet, such as TensorFlow's; that can take minutes and
    gigabytes. Without it such a model is not served, and the log has the command that builds its environment."""
    poll_s: Seconds = 15.0
    """Seconds between two scans of the stores when ``model_control`` is ``poll``."""
    host: str = "127.0.0.1"
    """Address to listen on. The default accepts connections from this machine only; ``0.0.0.0`` accepts all."""
    port: Port = DEFAULT_PORT
    """HTTP port to listen on; 0 for any free one."""
    grpc_port: Port | None = None
    """gRPC port at the same address; 0 for any free one; the value of ``port`` for HTTP and gRPC on one port. Not set: no gRPC."""
    grpc_max_message_bytes: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    """Maximum size of a client's gRPC message. Default: ``max_body_bytes``."""
    v2_server_name: str = "triton"
    """Server name in the metadata of the Open Inference Protocol; some clients expect Triton's."""
    use_multiprocess: bool | None = None
    """True: run ``workers`` instances of each module. False: run one. Not set: like true for modules that compute batches and if
    ``workers`` is set, else like false."""
    workers: Count | None = None
    """Number of instances of each module. Default: one per GPU of ``gpu``, or else one per core, limited to one per GiB of free memory
    and to 8."""
    use_gpu: bool = False
    """Compute on GPUs: modules whose constructor takes ``use_gpu``, model files, and models of stores whose ``config.pbtxt`` leaves it
    open; engines without GPUs compute on the CPU."""
    gpu: str | int | None = None
    """GPUs to use, such as ``"0,1"``; instances are spread over them. Default: ``CUDA_VISIBLE_DEVICES``."""
    gpu_fallback: Literal["none", "cpu"] = "none"
    """What computes models that ask for a GPU (``KIND_GPU``, ``gpus``, ``use_gpu``) where no GPU is visible. ``none``: they are not served,
    and the error says why. ``cpu``: the CPU, and the log says so. A GPU that is there and cannot be used is an error with both."""
    max_body_bytes: Count = 64 << 20
    """Maximum size of a request body."""
    max_json_depth: Annotated[int, msgspec.Meta(ge=1, le=800)] = 500
    """Maximum nesting of lists and objects in a client's JSON; deeper documents are refused with 400."""
    max_elements: Count = 10_000_000
    """Maximum number of values in a client's JSON document and of byte strings in a tensor; more are refused with 413."""
    nan: Literal["null", "error", "token"] = "null"
    """How JSON answers of modules (``/predict``) write NaN and Infinity, which JSON lacks. ``token``: as Python does; most other parsers
    refuse it. ``error``: the request fails."""
    v2_nan: Literal["null", "error", "token"] = "token"
    """The same for JSON tensors of the Open Inference Protocol, whose clients expect the tokens."""
    max_queue_size: Count = 1024
    """Maximum number of queued requests of each module; more are refused with 429."""
    response_cache_bytes: Count = 64 << 20
    """Memory of the response cache of each module that has one."""
    request_timeout_s: Seconds = 300.0
    """Seconds after which a request is answered with an error."""
    remeasure_engines_after_idle_s: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    """Seconds of idleness after which an ``auto`` engine choice that was made on a busy machine, or between equally fast engines, is
    measured again in a separate process. An engine that is 10% faster takes over without interruption. 0: never."""
    ready_timeout_s: Annotated[float, msgspec.Meta(ge=5)] = 30.0
    """Seconds without an answer from any of its instances after which a module is reported as not ready."""
    client_timeout_s: Seconds = 30.0
    """Seconds that a client may take to send its request head. While it sends a body or reads a response, at least 4 KiB per second
    must move in each period of this length."""
    max_concurrency: Count = 4096
    """Maximum number of requests in progress; more are refused with 503."""
    max_connections: Count | None = None
    """Maximum number of client connections over all ports. A further one replaces the longest idle connection, or is refused. Not set:
    half of the file descriptors of the process, up to 16,384."""
    max_connections_per_peer: Count | None = None
    """The same for one IPv4 address or IPv6 network. Not set: three quarters of ``max_connections``."""
    max_pending_bytes: Count = 1 << 30
    """Maximum memory of all received request bodies and unsent responses. Beyond it, bodies and responses larger than 64 KiB are
    refused with 503."""
    drain_timeout_s: Seconds = 30.0
    """Seconds that requests in progress get to finish when the server stops."""
    shared_memory: bool = False
    """Let clients pass tensors in POSIX shared memory of this machine: any region that the server's user may open."""
    model_uploads: bool = False
    """Accept model files from clients that may load models. Such files may contain code, which runs as the server's user."""
    gradio: bool = True
    """Serve the pages of modules that have ``create_gradio_app`` at ``/gradio/<module>``. Each runs a copy of its module in its own
    process, started at the first visit."""
    old_names: bool = True
    """Provide names that newer packages removed, such as ``numpy.float``, to the code of PaddleHub modules. ``false``: such code fails."""

    @property
    def has_one_port(self) -> bool:
        """True if HTTP and gRPC share one port."""
        return self.grpc_port == self.port != 0

    def module(self, name: str) -> ModuleSettings:
        """Return a module's settings, or the defaults for a store's model that ``modules_info`` does not name."""
        return self.modules_info.get(name) or ModuleSettings()

    def uses_gpu(self, name: str) -> bool:
        """Return whether a module computes on a GPU."""
        own = self.module(name)
        if own.gpu is not None:
            return bool(str(own.gpu).strip())
        return bool(self.use_gpu or any(module.init_args.get("use_gpu") for module in self.modules_info.values()))

    def prefers_gpu(self, name: str) -> bool:
        """Return the value of ``use_gpu`` for a module whose constructor takes it."""
        return self.uses_gpu(name) if self.module(name).gpu is not None else self.use_gpu

    def chosen_gpus(self, name: str) -> list[str] | None:
        """Return the GPUs that the settings name for a module; None if they name none, so that ``CUDA_VISIBLE_DEVICES`` counts."""
        chosen = self.gpu if self.module(name).gpu is None else self.module(name).gpu
        return None if chosen is None else listed_gpus(str(chosen))

    def computes_on_cpu_instead(self, name: str) -> bool:
        """Return True if ``gpu_fallback`` is ``cpu`` and no GPU is visible to a module."""
        chosen = self.chosen_gpus(name)
        return self.gpu_fallback == "cpu" and (not has_gpu() or (bool(why_no_gpu()) if chosen is None else not chosen))

    def gpus(self, name: str) -> list[str]:
        """Return the GPUs to spread a module's instances over; empty if it uses none.

        Raises:
            ConfigError: a GPU is requested, and no setting names one.
        """
        if not self.uses_gpu(name) or self.computes_on_cpu_instead(name):
            return []
        chosen = self.chosen_gpus(name)
        devices = listed_gpus(os.environ.get(VISIBLE, "")) if chosen is None else chosen
        if not devices:
            raise ConfigError(
                "use_gpu is set, but nothing says which GPU: set CUDA_VISIBLE_DEVICES (for example 'export CUDA_VISIBLE_DEVICES=0') "
                'or "gpu": "0", or set use_gpu to false'
            )
        return devices

    def device_environ(self, name: str, index: int) -> dict[str, str]:
        """Return the environment variables that select an instance's GPU.

        Args:
            name: name of the module.
            index: index of the instance, from 0.
        """
        devices = self.gpus(name)
        if devices:
            return {VISIBLE: devices[index % len(devices)]}
        return {VISIBLE: HIDDEN} if self.module(name).gpu is not None else {}

    def instance_count(self, name: str, batches: bool, asked: int = 0, *, on_cpu: bool = False) -> int:
        """Return the number of instances of a module.

        Args:
            name: name of the module.
            batches: whether it computes batches; such a module keeps no state of a client in one process.
            asked: the number that the module itself asks for, which its own ``workers`` overrides; 0 for none.
            on_cpu: whether it computes on the CPU, whatever the settings say about GPUs.
        """
        if self.module(name).addresses:
            return len(self.module(name).addresses)
        own = self.module(name).workers
        if own is not None:
            return own
        if asked:
            return 1 if self.use_multiprocess is False else asked
        if self.use_multiprocess or (self.use_multiprocess is None and (batches or self.workers)):
            return self.workers or (0 if on_cpu else len(self.gpus(name))) or _instances_for_this_machine()
        return 1


def _instances_for_this_machine() -> int:
    free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(len(os.sched_getaffinity(0)), free_bytes // _USUAL_INSTANCE_BYTES, _MOST_INSTANCES))
