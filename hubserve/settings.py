"""The settings of a server: PaddleHub's ``config.json`` with more keys, and the command line's flags.

With ``--config`` the file counts, and flags that PaddleHub does not have beside it; otherwise the flags make the same object.
"""

import difflib
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
    """One module of ``modules_info``."""

    init_args: dict[str, Any] = {}
    """Arguments of the constructor or ``_initialize``; ``version`` and ``directory`` say what to load instead."""
    predict_args: dict[str, Any] = {}
    """Arguments of the serving method that a request may override."""
    workers: Count | None = None
    """Instances of this module; else the server's ``workers``."""
    max_batch_size: Count | None = None
    """The most items merged into one call, if less than the module's own limit."""
    preferred_batch_sizes: list[Count] = []
    """Numbers of items to merge requests up to; without them the sizes are learned."""
    max_queue_delay_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Milliseconds that a request may be kept waiting for others although an instance is idle."""
    max_queue_size: Count | None = None
    """Requests that may wait; else the server's ``max_queue_size``."""
    max_queue_wait_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Milliseconds that a request may wait in the queue; then it is refused. 0 for no bound but the request's own."""
    priority_levels: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Priorities that requests may have, from 1, which is computed first, to this. 0 for any number, lower ones first."""
    default_priority_level: Count | None = None
    """The priority of requests that ask for none of ``priority_levels``; else the one in the middle."""
    preserve_ordering: bool = False
    """Give answers in the order in which the requests came."""
    response_cache: bool = False
    """Answer a request that came before with the same content by the answer that it got then, without computing. For modules that
    always answer the same in the same way."""
    load_timeout_s: Seconds = 300.0
    """Seconds that one instance may take to load."""
    compute_timeout_s: Seconds | None = None
    """Seconds that one batch may take before its instance counts as hung and is replaced; else the server's ``request_timeout_s``."""
    addresses: list[str] = []
    """``host:port`` of listeners on other machines (``python -m hubserve.instance --listen``): one instance runs at each of them,
    instead of ``workers`` here. The module's folder must be at the same place there."""
    token_file: str = ""
    """The key that is shared with the listeners at ``addresses``; ``hub key remote FILE`` makes one."""
    max_memory_mb: Count | None = None
    """Resident MB at which an instance is replaced by a fresh one, between two batches."""
    environ: dict[str, str] = {}
    """Environment variables of its instances, over those that the module itself asks for."""
    environment: str = ""
    """The environment profile that it runs in, or ``host`` for the Python of hub; else what its install chose."""
    library_path: list[str] = []
    """Folders put before ``LD_LIBRARY_PATH``; relative ones are looked up beside the configuration file."""
    gpu: str | int | None = None
    """GPUs of this module, such as ``"0,1"``; its instances are spread over them, and it computes there if its constructor takes
    ``use_gpu``. ``""`` hides all GPUs from it. Else the server's."""


class ServerSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Everything that ``hub serving start`` can be told."""

    modules_info: dict[str, ModuleSettings] = {}
    """Name to settings."""
    model_store: list[str] = []
    """Folders of Triton models, one model in each of their folders, to serve besides; relative ones are looked up beside the configuration
    file. ``modules_info`` may have settings of theirs."""
    model_control: Literal["none", "poll", "explicit"] = "none"
    """``none``: serve every model of the stores, as it was at the start. ``poll``: and follow what changes there. ``explicit``: serve
    ``load_model``, and what clients have loaded."""
    load_model: list[str] = []
    """With ``explicit``: the models to serve from the start; ``"*"`` for all."""
    poll_s: Seconds = 15.0
    """With ``poll``: seconds between two looks at the stores."""
    host: str = "127.0.0.1"
    """The address to listen on; other machines reach it only if this is set to theirs or to 0.0.0.0."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = DEFAULT_PORT
    """The port to listen on; 0 for any free one."""
    grpc_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    """The port for v2 clients over gRPC, at the same address; 0 for any free one; that of ``port`` for one port for both. Not set: gRPC is
    off."""
    grpc_max_message_bytes: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    """The longest gRPC message of a client; else ``max_body_bytes``."""
    grpc_tls_cert: str = ""
    """The PEM file of the certificate chain that gRPC clients see; relative ones are looked up beside the configuration file. Not set:
    gRPC is not encrypted."""
    grpc_tls_key: str = ""
    """The PEM file of that certificate's key."""
    v2_server_name: str = "triton"
    """What the server calls itself in the metadata of the Open Inference Protocol; some clients look for Triton's name."""
    use_multiprocess: bool | None = None
    """True: run ``workers`` instances of each module; false: one. Not set: modules that compute batches get as many as under true."""
    workers: Count | None = None
    """Instances of each module; else one for each GPU of ``gpu``, or one for each core, as far as memory allows, up to 8."""
    use_gpu: bool = False
    """Compute on GPUs, for modules whose constructor takes ``use_gpu``."""
    gpu: str | int | None = None
    """GPUs to use, such as ``"0,1"``; instances are spread over them. Else ``CUDA_VISIBLE_DEVICES``."""
    max_body_bytes: Count = 64 << 20
    """The longest request body."""
    max_json_depth: Annotated[int, msgspec.Meta(ge=1, le=800)] = 500
    """Maximum nesting of lists and objects in a client's JSON; deeper ones are refused with 400."""
    max_elements: Count = 10_000_000
    """Values in a client's JSON document, and byte strings in a tensor; a request with more is refused with 413."""
    nan: Literal["null", "error", "token"] = "null"
    """The form of NaN and Infinity in the JSON answers of modules, as at ``/predict``, since JSON has neither. ``token``: the words
    that Python writes, which most other parsers refuse."""
    v2_nan: Literal["null", "error", "token"] = "token"
    """As ``nan``, for tensors that the Open Inference Protocol answers as JSON, whose clients expect the words."""
    max_queue_size: Count = 1024
    """Requests that may wait for each module."""
    response_cache_bytes: Count = 64 << 20
    """The memory that the response cache of each module may take that has one."""
    request_timeout_s: Seconds = 300.0
    """Seconds after which a request is answered with an error."""
    remeasure_engines_after_idle_s: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    """An engine that ``auto`` chose while the machine was busy, or among others that were as fast, is measured once more when the machine
    has been idle for so many seconds, by a process beside the server; one that is 10% faster takes over without a gap. 0: never."""
    ready_timeout_s: Annotated[float, msgspec.Meta(ge=5)] = 30.0
    """A module none of whose instances has answered for so long is reported as not ready."""
    client_timeout_s: Seconds = 30.0
    """Seconds that a client may take to send its headers. While it sends a body or takes an answer, 4 KiB per second must move in each
    period of this length."""
    max_concurrency: Count = 4096
    """Requests in progress at once; more are refused with 503."""
    max_connections: Count | None = None
    """Connections of clients at once, to all ports; a new one closes the one that has been idle for longest, or is refused. Not set: half
    of the descriptors that the process may have, up to 16,384."""
    max_connections_per_peer: Count | None = None
    """As ``max_connections``, for one address, or network of IPv6. Not set: three quarters of ``max_connections``."""
    max_pending_bytes: Count = 1 << 30
    """Bytes of all request bodies that have come and of all answers that are not read yet. Larger bodies and answers than 64 KiB that would
    be more are refused with 503."""
    drain_timeout_s: Seconds = 30.0
    """Seconds that requests in progress get when the server is told to stop."""
    shared_memory: bool = False
    """Allow clients to have tensors in POSIX shared memory of this machine: any of it that the server's user may open."""
    admin: Literal["local", "off", "any"] = "local"
    """Clients that may use the admin surface: load and unload models, register shared memory, change logging and tracing, read ``/status``.
    ``local``: clients on this machine that connect directly, not through a proxy and not from a web page of another origin. ``off``: no
    client. ``any``: every client that can reach the server."""
    allowed_hosts: list[str] = []
    """Names by which clients call the server (their ``Host`` header), besides ``localhost``, ``host``, this machine's name and IP
    addresses; ``"*.example.com"`` for all below a domain, ``"*"`` for any. Not set: any name where other machines can reach ``host``,
    none besides these where only this machine can."""
    cors_origins: list[str] = []
    """Origins of web pages that may use the server besides its own, such as ``"https://app.example.com"``; ``"*"`` for all. They never
    get the admin surface, unless ``admin`` is ``any``."""
    model_uploads: bool = False
    """Whether clients that may load models may send the models' files, too. They may be code, which runs as the server's user."""
    gradio: bool = True
    """Whether to show the pages of modules that have ``create_gradio_app`` at ``/gradio/<module>``. Each runs in a process of its own, with
    a copy of its module, from its first visit on."""
    old_names: bool = True
    """Give the code of PaddleHub modules the names that newer packages removed, such as ``numpy.float``. ``false``: such code fails."""
    trace_dir: str = ""
    """A folder into which clients may have the server write traces of requests. Not set: they may not."""

    @property
    def has_one_port(self) -> bool:
        """Whether gRPC is to be spoken at the port of HTTP."""
        return self.grpc_port == self.port != 0

    def module(self, name: str) -> ModuleSettings:
        """A module's own settings; the usual ones for a model of a store that ``modules_info`` does not name."""
        return self.modules_info.get(name) or ModuleSettings()

    def uses_gpu(self, name: str) -> bool:
        """Whether a module is to compute on a GPU."""
        own = self.module(name)
        if own.gpu is not None:
            return bool(str(own.gpu).strip())
        return bool(self.use_gpu or any(module.init_args.get("use_gpu") for module in self.modules_info.values()))

    def prefers_gpu(self, name: str) -> bool:
        """Whether a module whose constructor takes ``use_gpu`` is given it."""
        return self.uses_gpu(name) if self.module(name).gpu is not None else self.use_gpu

    def gpus(self, name: str) -> list[str]:
        """The GPUs to spread a module's instances over; empty where none is used.

        Raises:
            ConfigError: a GPU is asked for and nothing says which.
        """
        if not self.uses_gpu(name):
            return []
        chosen = self.gpu if self.module(name).gpu is None else self.module(name).gpu
        listed = str(chosen) if chosen is not None else os.environ.get("CUDA_VISIBLE_DEVICES", "")
        devices = [each.strip() for each in listed.split(",") if each.strip()]
        if not devices:
            raise ConfigError(
                "use_gpu is set, but nothing says which GPU: set CUDA_VISIBLE_DEVICES (for example 'export CUDA_VISIBLE_DEVICES=0') "
                'or "gpu": "0", or set use_gpu to false'
            )
        return devices

    def device_environ(self, name: str, index: int) -> dict[str, str]:
        """What tells an instance which GPU it may see.

        Args:
            name: the module's.
            index: the instance's, from 0.
        """
        devices = self.gpus(name)
        if devices:
            return {"CUDA_VISIBLE_DEVICES": devices[index % len(devices)]}
        return {"CUDA_VISIBLE_DEVICES": ""} if self.module(name).gpu is not None else {}

    def instance_count(self, name: str, batches: bool) -> int:
        """How many instances of a module to run.

        Args:
            name: the module's.
            batches: whether it computes batches: such a module has nothing that ties a client's requests to one process.
        """
        if self.module(name).addresses:
            return len(self.module(name).addresses)
        own = self.module(name).workers
        if own is not None:
            return own
        if self.use_multiprocess or (self.use_multiprocess is None and (batches or self.workers)):
            return self.workers or len(self.gpus(name)) or _instances_for_this_machine()
        return 1


def _instances_for_this_machine() -> int:
    free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(len(os.sched_getaffinity(0)), free_bytes // _USUAL_INSTANCE_BYTES, _MOST_INSTANCES))


def log_note(text: str) -> None:
    """Log that a key means something else than its writer may think."""
    log.warning("%s", text)


def read_config(path: Path, flags: Mapping[str, Any] | None = None, note: Note = log_note) -> ServerSettings:
    """Read a ``config.json``.

    Args:
        path: the file.
        flags: settings that count instead of the file's.
        note: takes a sentence for each key of PaddleHub's that means something else here, or nothing.
    Raises:
        ConfigError: it cannot be read, is not JSON, or has an unknown or wrong key; the message gives file, key, reason and the
            nearest known key.
    """
    raw = _load(path)
    return with_paths(parse_settings({**raw, **flags} if flags and isinstance(raw, dict) else raw, str(path), note), path)


def with_paths(settings: ServerSettings, config: Path) -> ServerSettings:
    """Look relative paths of files up beside the configuration file; those of keys in the working directory first."""
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
        origin: the source's name in messages, such as a file's path.
        note: takes a sentence for each key of PaddleHub's that means something else here, or nothing.
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
