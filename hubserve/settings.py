"""Settings of a server, from PaddleHub's ``config.json`` with more keys or from the command line's flags.

With ``--config`` the file's settings apply, and of the flags only those that PaddleHub does not have; otherwise the flags make the same
object.
docs/reference/settings.md is generated from the fields' docstrings (tools/reference.py).
"""

import difflib
import ipaddress
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from hubserve.config_file.legacy import MISPLACED, Note, modernise
from hubserve.config_file.lenient_json import NotJson, parse_json
from hubserve.config_file.values import plain_values
from hubserve.engines.gpus import HIDDEN, VISIBLE, has_gpu, listed_gpus, why_no_gpu
from hubserve.errors import ConfigError

__all__ = ["DEFAULT_PORT", "ModuleSettings", "Note", "ServerSettings", "log_note", "parse_settings", "read_config", "with_paths"]

log = logging.getLogger("hubserve")

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]

DEFAULT_PORT = 8866
_USUAL_INSTANCE_BYTES = 1 << 30
_HOST = re.compile(r"\*|(\*\.)?[A-Za-z0-9_.-]+")
_ORIGIN = re.compile(r"\*|null|[A-Za-z][A-Za-z0-9+.-]*://[^/\s?#@*]+")
_MOST_INSTANCES = 8


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


class ServerSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Settings of a server."""

    modules_info: dict[str, ModuleSettings] = {}
    """Module names and their settings (see module settings)."""
    model_store: list[str] = []
    """Folders of Triton model repositories to serve too; relative ones are resolved beside the configuration file. ``modules_info`` may
    hold settings of their models."""
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
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = DEFAULT_PORT
    """HTTP port to listen on; 0 for any free one."""
    grpc_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    """gRPC port at the same address; 0 for any free one; the value of ``port`` for HTTP and gRPC on one port. Not set: no gRPC."""
    grpc_max_message_bytes: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    """Maximum size of a client's gRPC message. Default: ``max_body_bytes``."""
    grpc_tls_cert: str = ""
    """PEM file of the certificate chain for gRPC; a relative path is resolved beside the configuration file. Not set: gRPC is not
    encrypted."""
    grpc_tls_key: str = ""
    """PEM file of that certificate's private key."""
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
    admin: Literal["local", "off", "any"] = "local"
    """Clients that may use the admin surface: load and unload models, register shared memory, change logging and tracing, read
    ``/status``. ``local``: clients that connect directly from this machine, not through a proxy and not from a web page of another
    origin. ``off``: none. ``any``: every client that can reach the server."""
    allowed_hosts: list[str] = []
    """Host names (``Host`` header) that clients may use besides ``localhost``, ``host``, this machine's name and IP addresses;
    ``"*.example.com"`` for all names of a domain, ``"*"`` for any. Not set: any name if ``host`` is reachable from other machines,
    else none besides these."""
    cors_origins: list[str] = []
    """Origins of other web pages that may use the server, such as ``"https://app.example.com"``; ``"*"`` for all. They have no access
    to the admin surface unless ``admin`` is ``any``."""
    model_uploads: bool = False
    """Accept model files from clients that may load models. Such files may contain code, which runs as the server's user."""
    gradio: bool = True
    """Serve the pages of modules that have ``create_gradio_app`` at ``/gradio/<module>``. Each runs a copy of its module in its own
    process, started at the first visit."""
    old_names: bool = True
    """Provide names that newer packages removed, such as ``numpy.float``, to the code of PaddleHub modules. ``false``: such code fails."""
    trace_dir: str = ""
    """Folder for request traces that clients may turn on. Not set: tracing is not allowed."""

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


def log_note(text: str) -> None:
    """Log a note about a key whose meaning differs from PaddleHub's."""
    log.warning("%s", text)


def read_config(path: Path, flags: Mapping[str, Any] | None = None, note: Note = log_note) -> ServerSettings:
    """Read a ``config.json``.

    Args:
        path: the file.
        flags: settings that override the file's.
        note: called with a sentence for each of PaddleHub's keys that has another meaning, or none, here.
    Raises:
        ConfigError: it cannot be read, is not JSON, or has an unknown or wrong key; the message gives file, key, reason and the
            nearest known key.
    """
    raw = _load(path)
    return with_paths(parse_settings({**raw, **flags} if flags and isinstance(raw, dict) else raw, str(path), note), path)


def with_paths(settings: ServerSettings, config: Path) -> ServerSettings:
    """Resolve relative paths of files beside the configuration file; those of key files in the working directory first."""
    folder = config.absolute().parent
    files = {key: str(folder / value) for key in ("grpc_tls_cert", "grpc_tls_key") if (value := getattr(settings, key))}
    modules = {
        name: msgspec.structs.replace(module, token_file=str(folder / module.token_file))
        if module.token_file and not Path(module.token_file).exists()
        else module
        for name, module in settings.modules_info.items()
    }
    return msgspec.structs.replace(settings, modules_info=modules, **files)


def _load(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes()).value
    except OSError as error:
        raise ConfigError(f"cannot read the configuration '{path}': {error.strerror}. Give the path of a config.json.") from None
    except NotJson as error:
        raise ConfigError(f"the configuration '{path}' is not JSON: {error}") from None


def parse_settings(raw: Any, origin: str, note: Note = log_note) -> ServerSettings:
    """Check settings from any source.

    Args:
        raw: decoded JSON.
        origin: name of the source in messages, such as a file's path.
        note: called with a sentence for each of PaddleHub's keys that has another meaning, or none, here.
    """
    raw = modernise(raw, origin, note)
    _refuse_unknown_keys(raw, ServerSettings, origin, "")
    settings = _convert(_plain(raw), origin)
    for name, module in settings.modules_info.items():
        if module.default_priority_level is not None and module.default_priority_level > module.priority_levels:
            raise ConfigError(
                f"{origin}: modules_info.{name}.default_priority_level is {module.default_priority_level}, "
                f"but priority_levels is {module.priority_levels}; give one of 1 to {module.priority_levels or 'priority_levels'}"
            )
        for address in module.allowed_addresses:
            if not _is_address_rule(address):
                raise ConfigError(
                    f"{origin}: modules_info.{name}.allowed_addresses has '{address}'; give names of hosts or IP addresses without scheme, "
                    "port and path, such as 'pictures.example.com', '*.example.com' or '10.1.0.0/16', or '*'"
                )
        if module.addresses and not module.token_file:
            raise ConfigError(
                f"{origin}: modules_info.{name} has addresses but no token_file; name the file that the listeners were started with"
            )
    if bool(settings.grpc_tls_cert) != bool(settings.grpc_tls_key):
        given, missing = ("grpc_tls_cert", "grpc_tls_key") if settings.grpc_tls_cert else ("grpc_tls_key", "grpc_tls_cert")
        raise ConfigError(f"{origin}: '{given}' is set but '{missing}' is not; encrypted gRPC needs both files, plain gRPC neither")
    if settings.grpc_tls_cert and settings.has_one_port:
        raise ConfigError(
            f"{origin}: 'grpc_port' and 'port' are both {settings.port}, where HTTP is not encrypted, but 'grpc_tls_cert' is set; "
            "give gRPC a port of its own, or leave the certificate out"
        )
    _check_names(settings, origin)
    if settings.load_model and settings.model_control != "explicit":
        raise ConfigError(f"{origin}: load_model has a meaning only with model_control 'explicit', and that is '{settings.model_control}'")
    if settings.model_control != "none" and not settings.model_store:
        raise ConfigError(f"{origin}: model_control is '{settings.model_control}', and there is no model_store; name one")
    if not settings.modules_info and not settings.model_store:
        raise ConfigError(f"{origin}: 'modules_info' names no module; give at least one, as in {{\"clas_system\": {{}}}}")
    return settings


def _is_address_rule(text: str) -> bool:
    """Return True for the name of a host, with ``*.`` for all of a domain, and for an IP address or network."""
    if _HOST.fullmatch(text):
        return True
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _check_names(settings: ServerSettings, origin: str) -> None:
    for host in settings.allowed_hosts:
        if not _HOST.fullmatch(host):
            raise ConfigError(f"{origin}: allowed_hosts has '{host}'; give names without scheme, port and path, such as 'ml.example.com'")
    for page in settings.cors_origins:
        if not _ORIGIN.fullmatch(page):
            raise ConfigError(
                f"{origin}: cors_origins has '{page}'; give a scheme, a host and, unless it is the usual one, a port, "
                "such as 'https://app.example.com' or 'http://localhost:3000', or '*'"
            )


def _convert(plain: Any, origin: str) -> ServerSettings:
    for name, module in plain["modules_info"].items() if isinstance(plain, dict) and isinstance(plain.get("modules_info"), dict) else ():
        try:  # each by itself, because msgspec's message does not name the key of a dict
            msgspec.convert(module, ModuleSettings, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{origin}: {_reason(error, f'modules_info.{name}')}") from None
    try:
        return msgspec.convert(plain, ServerSettings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{origin}: {_reason(error)}") from None


def _reason(error: msgspec.ValidationError, where: str = "") -> str:
    """Return msgspec's text with the whole path of the key, and what to write."""
    text, separator, key = str(error).partition(" - at `$")
    path = f"{where}{key.rstrip('`')}".lstrip(".")
    if "Expected `bool" in text:
        text += ", true or false"
    elif text.startswith("Expected `object") and where and not separator:
        text += ", such as {}"
    return f"{text} - at `{path}`" if path else f"{text} at the top"


def _plain(raw: Any) -> Any:
    plain = plain_values(raw, ServerSettings)
    if isinstance(plain, dict) and isinstance(plain.get("modules_info"), dict):
        modules = {name: plain_values({} if module is None else module, ModuleSettings) for name, module in plain["modules_info"].items()}
        plain["modules_info"] = modules
    return plain


def _refuse_unknown_keys(raw: Any, struct: type[msgspec.Struct], origin: str, path: str) -> None:
    if not isinstance(raw, dict):
        return  # the conversion says what is wrong
    known = struct.__struct_fields__
    for key, value in raw.items():
        if key not in known and struct is ModuleSettings and key in MISPLACED:
            place, text = MISPLACED[key], json.dumps({key: value}, ensure_ascii=False)
            raise ConfigError(f"{origin}: '{path}{key}' belongs into {place}; write \"{place}\": {text}")
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1)
            meant = f"did you mean '{nearest[0]}'?" if nearest else f"known keys are {', '.join(known)}."
            raise ConfigError(f"{origin}: unknown key '{path}{key}'; {meant}")
    if struct is ServerSettings and isinstance(raw.get("modules_info"), dict):
        for name, module in raw["modules_info"].items():
            _refuse_unknown_keys(module, ModuleSettings, origin, f"modules_info.{name}.")
