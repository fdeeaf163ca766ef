"""Checks of a server's ``config.json``."""

import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubserve.config_file.legacy import modernise
from hubserve.config_file.lenient_json import NotJson, parse_json
from hubserve.doctor import engines, hardware, home_checks
from hubserve.doctor.access import access_problems
from hubserve.doctor.findings import ERROR, NOTE, WARNING, Check, Finding, by_level, from_error, run_checks
from hubserve.doctor.module import examine_module
from hubserve.doctor.stores import examine_store
from hubserve.engines.model_formats import FORMATS
from hubserve.engines.selection import is_installed
from hubserve.engines.table import AUTO, ENGINES
from hubserve.errors import ConfigError, HubError
from hubserve.gateway.instances.remote_instance import connect, identity, start_advice
from hubserve.instance.remote_listener import parse_address
from hubserve.kinds.model_file import KIND as MODEL
from hubserve.paths import home
from hubserve.registry.configuration import install_settings
from hubserve.registry.downloads.canonical import is_loopback
from hubserve.registry.environments.profile import HOST, get_profile
from hubserve.registry.remotes import is_remote, open_remote
from hubserve.registry.resolve import resolve
from hubserve.server import pidfile
from hubserve.server.deployment import LOCATING, reference_of
from hubserve.settings import ModuleSettings, ServerSettings, parse_settings, with_paths
from hubserve.settings.module import REMOTE_FILES
from hubserve.wire.tls import ASK_PROBE

_CONNECT_S = 3.0
_FIRST_FREE_PORT = 1024
_MIB = 1 << 20


@dataclass(frozen=True)
class Config:
    """Configuration that is valid at least in part.

    Attributes:
        path: its file.
        settings: its valid settings.
        network: whether checks may connect to other machines.
    """

    path: Path
    settings: ServerSettings
    network: bool = False

    def finding(self, level: str, key: str, reason: str, fix: str = "") -> Finding:
        """Return a finding about one of its keys."""
        return Finding(level, key, reason, fix, str(self.path))

    @property
    def modules(self) -> dict[str, ModuleSettings]:
        """Settings by module name."""
        return self.settings.modules_info

    @property
    def folder(self) -> Path:
        """Folder of the file, which relative paths are based on."""
        return self.path.absolute().parent

    def unasked(self, name: str) -> str:
        """Return the address of a module at another place that checks may not connect to, or ""."""
        directory = str(self.modules[name].init_args.get("directory", ""))
        return directory if is_remote(directory) and not self.network else ""

    def reference(self, name: str) -> str:
        """Return the folder or installed module that a key of ``modules_info`` refers to.

        Raises:
            HubError: there is none, or it is at another place, and checks may not connect to it.
        """
        if address := self.unasked(name):
            raise ConfigError(f"{address} was not fetched")
        return reference_of(name, self.modules[name].init_args, [self.folder])


def examine_config(path: Path, *, network: bool = False) -> list[Finding]:
    """Run every check of a configuration and its modules, without running the modules' code.

    Args:
        path: a ``config.json``.
        network: whether to connect to other machines that it names.
    """
    try:
        raw, findings = _read(path)
        raw = modernise(raw, str(path), lambda text: findings.append(_as_finding(text, path)))
    except ConfigError as error:
        return [from_error(error, "config.json", "Fix the file", str(path))]
    usable, wrong = _without_wrong_keys(raw, path)
    findings += wrong
    try:
        config = Config(path, with_paths(parse_settings(usable, str(path)), path), network)
    except ConfigError as error:
        if not wrong:
            findings.append(Finding(ERROR, "modules_info", _bare(error, path), "Fix it", str(path)))
        return by_level(findings)
    findings += run_checks(CONFIG_CHECKS, config)
    for name in config.modules:
        findings += _examine_module(config, name)
    return by_level(findings)


def _examine_module(config: Config, name: str) -> list[Finding]:
    module = config.modules[name]
    try:
        reference = config.reference(name)
        if resolve(reference).info.name != name:
            return []  # check_modules reports it
    except HubError:
        return []
    init_args = {key: value for key, value in module.init_args.items() if key not in LOCATING}
    return examine_module(
        reference, search_path=[config.folder], init_args=init_args, predict_args=module.predict_args, origin=str(config.path)
    )


# --- reading ---


def _read(path: Path) -> tuple[dict[str, Any], list[Finding]]:
    """Return the file's object, and findings about duplicate keys and deviations from JSON."""
    findings: list[Finding] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                findings.append(Finding(WARNING, key, "the key occurs twice; the last value is used", "Remove one of them", str(path)))
            seen.add(key)
        return dict(pairs)

    try:
        document = parse_json(path.read_bytes(), collect)
    except OSError as error:
        raise ConfigError(f"it cannot be read: {error.strerror}") from None
    except NotJson as error:
        raise ConfigError(f"it is not JSON: {error}") from None
    if not isinstance(document.value, dict):
        raise ConfigError("it must hold a JSON object")
    if document.liberties:
        reason = f"it has {' and '.join(document.liberties)}, which JSON does not allow: PaddleHub and other programs cannot read it"
        findings.append(Finding(NOTE, "config.json", reason, "", str(path)))
    return document.value, findings


def _as_finding(note: str, path: Path) -> Finding:
    """Turn a note of the configuration reader into a finding about its key."""
    text = note.removeprefix(f"{path}: ")
    return Finding(NOTE, text.partition(" ")[0].strip("':"), text, "", str(path))


def _without_wrong_keys(raw: dict[str, Any], path: Path) -> tuple[dict[str, Any], list[Finding]]:
    """Check each key by itself, so that all wrong ones are found at once.

    Returns:
        The valid settings, and findings about the others.
    """
    usable: dict[str, Any] = {}
    found: list[Finding] = []
    for key, value in raw.items():
        if key == "modules_info" and isinstance(value, dict):
            usable[key] = {}
            for name, module in value.items():
                if isinstance(module, dict) or module is None:
                    usable[key][name] = _usable_module(name, module or {}, path, found)
                else:
                    reason = _problem({"modules_info": {name: module}}, path)
                    found.append(Finding(ERROR, f"modules_info.{name}", reason, "Write an object, such as {}", str(path)))
        elif reason := _problem({"modules_info": {"x": {}}, key: value}, path):
            found.append(Finding(ERROR, key, reason, "Rename, fix or remove the key", str(path)))
        else:
            usable[key] = value
    return usable, found


def _usable_module(name: str, module: dict[str, Any], path: Path, found: list[Finding]) -> dict[str, Any]:
    usable = {}
    for key, value in module.items():
        # addresses require a token file, which has its own key and check
        tried = {"token_file": "x", key: value} if key == "addresses" else {key: value}
        if key in REMOTE_FILES:  # all of them or none
            tried = {**dict.fromkeys(REMOTE_FILES, "x"), key: value}
        if reason := _problem({"modules_info": {name: tried}}, path):
            found.append(Finding(ERROR, f"modules_info.{name}.{key}", reason, "Rename, fix or remove the key", str(path)))
        else:
            usable[key] = value
    return usable


def _problem(raw: dict[str, Any], path: Path) -> str:
    """Return what is wrong with settings; "" if nothing is."""
    try:
        parse_settings(raw, str(path))
    except ConfigError as error:
        return _bare(error, path)
    return ""


def _bare(error: ConfigError, path: Path) -> str:
    return error.message.removeprefix(f"{path}: ")


# --- the checks ---


def check_modules(config: Config) -> Iterator[Finding]:
    """Check that the modules are installed, in the requested versions, under these names."""
    for name, module in config.modules.items():
        key = "directory" if module.init_args.get("directory") else "version" if module.init_args.get("version") else ""
        about = f"modules_info.{name}" + (f".init_args.{key}" if key else "")
        if address := config.unasked(name):
            try:
                shown = open_remote(address, install_settings(home())).shown
            except HubError as error:
                yield from_error(error, about, "Correct the address", str(config.path))
            else:
                yield config.finding(NOTE, about, f"{shown} was not checked", "hub doctor --network CONFIG fetches it")
            continue
        try:
            found = resolve(config.reference(name))
        except HubError as error:
            yield from_error(error, about, "Install it: hub install FOLDER_OR_ARCHIVE", str(config.path))
            continue
        if found.info.name != name:
            reason = f"the name of this module is '{found.info.name}'"
            yield config.finding(ERROR, f"modules_info.{name}", reason, f"Use '{found.info.name}' as the key")


def check_stores(config: Config) -> Iterator[Finding]:
    """Check that the model stores can be read and hold models."""
    for index, store in enumerate(config.settings.model_store):
        for found in examine_store(store, [config.folder], network=config.network):
            yield config.finding(found.level, f"model_store.{index}", found.reason, found.fix)


def check_environments(config: Config) -> Iterator[Finding]:
    """Check that the environment profiles of the modules exist and are readable."""
    for name, module in config.modules.items():
        if module.environment not in ("", HOST):
            try:
                get_profile(home(), module.environment)
            except HubError as error:
                remedy = f"Name a profile that 'hub env list' shows, or '{HOST}'"
                yield from_error(error, f"modules_info.{name}.environment", remedy, str(config.path))


def check_address(config: Config) -> Iterator[Finding]:
    """Check that the server can listen on host and port."""
    host, port = config.settings.host, config.settings.port
    running = pidfile.find(port) if port else None
    if running:
        reason = f"hub already serves {', '.join(running.modules)} on port {port} (pid {running.pid})"
        yield config.finding(NOTE, "port", reason, f"hub serving reload -p {port}, or hub serving stop -p {port}")
    elif problem := _listening_problem(host, port):
        about = "host" if "assign" in problem or "known" in problem else "port"
        root = " (ports below 1024 require root)" if 0 < port < _FIRST_FREE_PORT else ""
        yield config.finding(
            ERROR, about, f"the server cannot listen on {host}:{port}: {problem}{root}", "Set another port, or an address of this machine"
        )
    for found in access_problems(config.settings):
        yield config.finding(*found)
    settings = config.settings
    admin_host = settings.admin_host if settings.has_own_admin else host
    is_open = settings.admin_port is not None or not settings.has_own_admin  # to other programs than this user's
    if settings.admin == "any" and is_open and not is_loopback(admin_host):
        reason = f"on {admin_host}, every client that can reach this machine can load and unload models, and change logging and tracing"
        yield config.finding(WARNING, "admin", reason, 'Set it to "local"')


def _listening_problem(host: str, port: int) -> str:
    try:
        return home_checks.port_problem(host, port)
    except (socket.gaierror, OverflowError) as error:
        return str(error)


def check_gpu(config: Config) -> Iterator[Finding]:
    """Check that the requested GPUs exist, and that the engines can use them."""
    settings = config.settings
    computing = [name for name in config.modules if settings.uses_gpu(name)]
    if not computing:
        if settings.gpu is not None:
            yield config.finding(
                WARNING,
                "gpu",
                "it names GPUs, but no module has use_gpu, so all of them compute on the CPU",
                'Set "use_gpu": true, or remove "gpu"',
            )
        return
    for name, module in config.modules.items():
        uses = module.init_args.get("use_gpu", settings.use_gpu)
        if uses and module.init_args.get("enable_mkldnn"):
            yield config.finding(
                NOTE, f"modules_info.{name}.init_args.enable_mkldnn", "it has no effect with use_gpu, because the GPU computes"
            )
    try:
        listed = ",".join(dict.fromkeys(device for name in computing for device in settings.gpus(name)))
    except ConfigError as error:
        yield from_error(error, "use_gpu", "Name one in CUDA_VISIBLE_DEVICES, or set use_gpu to false", str(config.path))
        return
    yield from engines.visible_devices(listed, "gpu" if settings.gpu is not None else "CUDA_VISIBLE_DEVICES", str(config.path))
    for engine in sorted({_engine_of(config, name) for name in computing if not settings.computes_on_cpu_instead(name)}):
        yield from _check_build(config, engine)


def _engine_of(config: Config, name: str) -> str:
    """Return the engine of a model file; that of other modules is Paddle as far as is known without running them."""
    try:
        info = resolve(config.reference(name)).info
    except HubError:
        return "paddle"
    backend = info.type.partition("/")[2]
    found = str(config.modules[name].init_args.get("engine") or (FORMATS[backend].engine if backend in FORMATS else AUTO))
    return found if info.kind == MODEL and found in ENGINES else "paddle"


def _check_build(config: Config, engine: str) -> Iterator[Finding]:
    """Check that an engine was built for GPUs; one that is in an environment of its own is not looked at."""
    remedy = engines.build_for_gpus(engine)
    if engine != "paddle" and not is_installed(engine):
        return
    try:
        about = engines.import_engine(engine)
    except HubError as error:
        reason = f"the engine {engine} shall compute on a GPU, and it cannot be imported: {error.message}"
        yield config.finding(ERROR, "use_gpu", reason, remedy)
        return
    if about["cuda"] is False:
        reason = f"the engine {engine} shall compute on a GPU, and the installed one is built for CPUs"
        yield config.finding(ERROR, "use_gpu", reason, f"{remedy}; or set use_gpu to false")


def check_instances(config: Config) -> Iterator[Finding]:
    """Check that cores and memory suffice for all instances together."""
    counts, wanted_bytes = {}, 0
    for name, module in config.modules.items():
        if module.addresses:
            if module.workers:
                yield config.finding(
                    WARNING,
                    f"modules_info.{name}.workers",
                    "it has no effect with addresses, because one instance runs at each",
                    "Remove it",
                )
            continue
        try:
            counts[name] = config.settings.instance_count(name, resolve(config.reference(name)).info.batches)
        except HubError:
            continue
        wanted_bytes += counts[name] * (module.max_memory_mb * _MIB if module.max_memory_mb else hardware.INSTANCE_BYTES)
    total, cores = sum(counts.values()), len(os.sched_getaffinity(0))
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    if not any(map(config.settings.uses_gpu, config.modules)) and max(counts.values(), default=0) > cores:
        reason = f"a module has more instances than the {cores} cores here ({listed}): they take memory and slow one another down"
        yield config.finding(WARNING, "workers", reason, f'Set "workers" to {cores} or less')
    free = hardware.available_bytes()
    if wanted_bytes > free:
        reason = f"{total} instances ({listed}) may take {wanted_bytes // _MIB} MiB, but {free // _MIB} MiB are free"
        yield config.finding(WARNING, "workers", reason, 'Set fewer "workers", or a lower "max_memory_mb" if the real use is known')


def check_limits(config: Config) -> Iterator[Finding]:
    """Check for limits that contradict one another."""
    settings = config.settings
    if settings.max_body_bytes > settings.max_pending_bytes:
        total = settings.max_pending_bytes
        reason = f"a body may have {settings.max_body_bytes} bytes, but all together {total}, so longer ones are never accepted"
        yield config.finding(ERROR, "max_pending_bytes", reason, "Raise it, or lower max_body_bytes")
    for name, module in config.modules.items():
        where = f"modules_info.{name}"
        if module.compute_timeout_s and module.compute_timeout_s > settings.request_timeout_s:
            reason = f"a batch may take {module.compute_timeout_s:g} s, but requests time out after {settings.request_timeout_s:g} s"
            yield config.finding(WARNING, f"{where}.compute_timeout_s", reason, "Raise request_timeout_s, or lower this limit")
        if module.max_queue_delay_ms / 1e3 >= settings.request_timeout_s:
            reason = f"a request may wait {module.max_queue_delay_ms:g} ms for others, but times out after {settings.request_timeout_s:g} s"
            yield config.finding(ERROR, f"{where}.max_queue_delay_ms", reason, "Lower it: a few milliseconds are typical")
        too_large = [each for each in module.preferred_batch_sizes if module.max_batch_size and each > module.max_batch_size]
        if too_large:
            reason = f"{', '.join(map(str, too_large))} is above max_batch_size ({module.max_batch_size}), so it is never reached"
            yield config.finding(WARNING, f"{where}.preferred_batch_sizes", reason, "Remove it, or raise max_batch_size")


def check_tokens(config: Config) -> Iterator[Finding]:
    """Check that only the user can read token files and change the configuration."""
    if config.path.stat().st_mode & stat.S_IWOTH:
        reason = "every user can write this file, and so have your server load any code"
        yield config.finding(ERROR, "permissions", reason, f"chmod o-w '{config.path}'")
    for name, module in config.modules.items():
        if not (module.token_file or module.remote_cert):
            continue
        key = "token_file" if module.token_file else "remote_key"
        about, path = f"modules_info.{name}.{key}", Path(getattr(module, key))
        try:
            identity(module.token_file, module.certificates)
        except ConfigError as error:
            fix = f"Run hub key remote '{path}', and copy the file to the other machine" if module.token_file else "Correct the files"
            yield from_error(error, about, fix, str(config.path))
            continue
        if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            reason = f"other users of this machine can read the secret in '{path}'"
            yield config.finding(WARNING, about, reason, f"chmod 600 '{path}'")


def check_addresses(config: Config) -> Iterator[Finding]:
    """Check that listeners answer at the addresses."""
    for name, module in config.modules.items():
        for index, address in enumerate(module.addresses):
            about = f"modules_info.{name}.addresses.{index}"
            try:
                host, _ = where = parse_address(address)
            except ConfigError as error:
                yield from_error(error, about, "Write host:port", str(config.path))
                continue
            if not config.network and not is_loopback(host):
                yield config.finding(NOTE, about, f"{address} was not checked", "hub doctor --network CONFIG connects to it")
            elif problem := _connection_problem(where, module):
                fix = start_advice(address, module.certificates)
                yield config.finding(ERROR, about, f"no instance answers at {address}: {problem}", fix)


def _connection_problem(where: tuple[str, int], module: ModuleSettings) -> str:
    try:
        connect(where, identity(module.token_file, module.certificates), ASK_PROBE, _CONNECT_S).close()
    except ConfigError:  # the check of the key reports it; whether something listens can be checked without it
        return _refusal(where)
    except OSError as error:
        return str(error) or "no answer"
    return ""


def _refusal(where: tuple[str, int]) -> str:
    try:
        socket.create_connection(where, timeout=_CONNECT_S).close()
    except OSError as error:
        return str(error) or "no answer"
    return ""


CONFIG_CHECKS: tuple[Check[[Config]], ...] = (
    check_modules,
    check_stores,
    check_environments,
    check_address,
    check_gpu,
    check_instances,
    check_limits,
    check_tokens,
    check_addresses,
)
