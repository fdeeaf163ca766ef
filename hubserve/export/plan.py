"""Plan an export: the modules, files, ports and resources of a configuration, the same for every target."""

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import msgspec

from hubserve.errors import ConfigError
from hubserve.export.modules import Found, find_modules
from hubserve.export.places import Places
from hubserve.settings import ServerSettings, read_config
from hubserve.settings.module import REMOTE_FILES
from hubserve.settings.security import TLS_FILES

#: settings that name a file, folder or socket that the server writes
_OUTPUTS = ("access_log_file", "log_file", "trace_dir")
#: variable of OpenTelemetry for what trace_headers holds
_TRACE_HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
_BASE_MB, _INSTANCE_MB = 1024, 1024
_WIDEST_PORT = 65535


class Options(NamedTuple):
    """Choices of the user.

    Attributes:
        models: ``inside`` the image, or ``mounted``.
        image: name of the image.
        base_image: image of the Python; "" for the official slim one of this version.
        cpus: cores of a container.
        memory_mb: memory of a container; 0 for an estimate.
        extras: extras of hubserve; None for those whose packages are installed here.
    """

    models: str = "inside"
    image: str = ""
    base_image: str = ""
    cpus: int = 2
    memory_mb: int = 0
    extras: tuple[str, ...] | None = None


class Secret(NamedTuple):
    """File that is mounted where the server runs, and never copied.

    Attributes:
        name: its file name there.
        source: its path on this machine.
        setting: the setting that names it.
    """

    name: str
    source: Path
    setting: str


@dataclass(frozen=True)
class ExportPlan:
    """A configuration to be run elsewhere.

    Attributes:
        settings: of the configuration, with absolute paths of this machine.
        found: its modules, stores and environments.
        secrets: its certificates, their keys, and the files of API keys and of tokens.
        options: choices of the user.
        places: paths where it will run.
        host: address to listen on; "" for that of the configuration.
        notes: what the user should know, sentences.
    """

    settings: ServerSettings
    found: Found
    secrets: list[Secret]
    options: Options
    places: Places
    host: str
    notes: list[str] = field(default_factory=list)

    @property
    def python(self) -> str:
        """Full version of this Python, which the export pins."""
        return platform.python_version()

    @property
    def ports(self) -> dict[str, int]:
        """Ports by name, each port once."""
        settings = self.settings
        named = {"http": settings.port, "grpc": settings.grpc_port, "metrics": settings.metrics_port, "admin": settings.admin_port}
        seen: dict[int, str] = {}
        for name, port in named.items():
            if port is not None:
                seen.setdefault(port, name)
        return {name: port for port, name in seen.items()}

    @property
    def public_ports(self) -> dict[str, int]:
        """Ports that others may reach, by name: all but that of the admin surface."""
        return {name: port for name, port in self.ports.items() if name != "admin"}

    @property
    def variables(self) -> list[str]:
        """Environment variables that may hold credentials: for remote stores, and for the collector of traces."""
        return [*self.found.variables, *([_TRACE_HEADERS] if self.settings.trace_headers else [])]

    @property
    def metrics_port(self) -> int:
        """Port of ``/metrics``."""
        return self.settings.metrics_port or self.settings.port

    @property
    def gpus(self) -> int:
        """Number of GPUs to ask for; 0 for none."""
        chosen: set[str] = set()
        for name in self.settings.modules_info or ("",):  # "": the models of stores
            if self.settings.uses_gpu(name):
                chosen.update(self.settings.chosen_gpus(name) or ["0"])
        return len(chosen)

    @property
    def memory_mb(self) -> int:
        """Memory of a container: that of the user, or one GiB for the gateway and one for each instance."""
        count = sum(self.settings.module(name).workers or self.settings.workers or self.options.cpus for name in self.found.names)
        return self.options.memory_mb or _BASE_MB + _INSTANCE_MB * max(1, count)

    @property
    def load_timeout_s(self) -> int:
        """Seconds that the modules may take to load, which they do side by side."""
        return round(max([each.load_timeout_s for each in self.settings.modules_info.values()], default=300.0))

    @property
    def drain_s(self) -> int:
        """Seconds that requests in progress get at the end."""
        return max(1, round(self.settings.drain_timeout_s))

    @property
    def uses_tls(self) -> bool:
        """True if HTTP is encrypted."""
        return bool(self.settings.tls_cert)

    @property
    def image(self) -> str:
        """Name of the image."""
        from hubserve import __version__

        return self.options.image or f"hubserve-{self.name}:{__version__}"

    @property
    def name(self) -> str:
        """Name for units, services and images, from the first module."""
        first = next(iter(self.found.names), "models")
        return "".join(each if each.isascii() and each.isalnum() else "-" for each in first.lower()).strip("-")[:40] or "models"

    def config_text(self) -> str:
        """Return the configuration with the paths of the other machine."""
        return json.dumps(self.config(), indent=4, ensure_ascii=False) + "\n"

    def config(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, as the other machine needs them."""
        changes: dict[str, Any] = {each.setting: f"{self.places.secrets}/{each.name}" for each in self.secrets if "." not in each.setting}
        changes |= {key: f"{self.places.data}/{Path(value).name}" for key in _OUTPUTS if (value := getattr(self.settings, key))}
        if self.settings.admin_socket:
            changes["admin_socket"] = f"{self.places.sockets}/{Path(self.settings.admin_socket).name}"
        if self.host:
            changes["host"] = self.host
        if self.settings.workers is None and self.host:  # a container sees all cores of its node, not those that it may use
            changes["workers"] = self.options.cpus
        changes["model_store"] = [*(f"{self.places.models}/{each}" for each in self.found.stores), *self.found.remote_stores]
        changes |= {"build_environments": False, "trace_headers": {}}  # headers may hold a password
        document = _differing(msgspec.structs.replace(self.settings, **changes), ServerSettings())
        document["modules_info"] = {name: self._module_document(name) for name in self.settings.modules_info}
        return {key: value for key, value in document.items() if value != {} or key != "modules_info"}

    def _module_document(self, name: str) -> dict[str, Any]:
        module = self.settings.modules_info[name]
        init_args = {key: value for key, value in module.init_args.items() if key not in ("directory", "version")}
        init_args |= {key: value.replace("{models}", self.places.models) for key, value in self.found.init_args.get(name, {}).items()}
        secrets = {each.setting.rpartition(".")[2]: each.name for each in self.secrets if each.setting.rpartition(".")[0] == name}
        changes = {"init_args": init_args, "library_path": [each for each in module.library_path if not Path(each).is_absolute()]}
        if name in self.found.installed_with:
            changes["environment"] = ""  # the install chooses it
        document = _differing(msgspec.structs.replace(module, **changes), type(module)())
        return {**document, **{key: f"{self.places.secrets}/{file}" for key, file in secrets.items()}}


def make_plan(config: Path, places: Places, host: str, options: Options, note: Callable[[str], None]) -> ExportPlan:
    """Read a configuration and find everything that it needs.

    Args:
        config: the file.
        places: paths where it will run.
        host: address to listen on there; "" for that of the configuration.
        options: choices of the user.
        note: called with a sentence about each of PaddleHub's keys with another meaning.
    Raises:
        HubError: the configuration is invalid, a module cannot be found, or a port is not fixed.
    """
    settings = read_config(config, {}, note)
    for key in ("port", "grpc_port", "metrics_port", "admin_port"):
        if getattr(settings, key) == 0:
            raise ConfigError(f"'{key}' is 0, any free port, which no client could know; give a port from 1 to {_WIDEST_PORT}")
    notes: list[str] = []
    found = find_modules(settings, [config.absolute().parent], notes)
    if found.extras:
        notes.append(
            f"the server reads {', '.join(found.remote_stores)} itself; give it credentials by environment variables, as shown below, or "
            "mount the files that have them"
        )
    if settings.access_keys and settings.metrics and settings.metrics_port in (None, settings.port):
        notes.append(
            "/metrics needs a key with the scope metrics, which Prometheus is not given here; set metrics_port to scrape without one"
        )
    if settings.trace_headers:
        notes.append(f"trace_headers are left out, because they may hold a password; set {_TRACE_HEADERS}=name=value,... there")
    if settings.metrics and settings.tls_client_ca:
        notes.append("'tls_client_ca' is set, so that Prometheus needs a client's certificate, too: add it to its tls_config")
    if settings.metrics and settings.access_keys and settings.metrics_port is None:
        notes.append("with 'access_keys' Prometheus needs a key with the scope 'metrics': set 'metrics_port', which needs none, or add one")
    for name, module in settings.modules_info.items():
        for each in (path for path in module.library_path if Path(path).is_absolute()):
            notes.append(f"'{name}' has the library folder '{each}', which is of this machine only and left out")
    return ExportPlan(settings, found, _secrets(settings), options, places, host, notes)


def _secrets(settings: ServerSettings) -> list[Secret]:
    keys = (*TLS_FILES, "access_keys")
    found = [Secret(_file_name(key, value), Path(value), key) for key in keys if (value := getattr(settings, key))]
    for name, module in settings.modules_info.items():
        for key in ("token_file", *REMOTE_FILES):
            if value := getattr(module, key):
                found.append(Secret(_file_name(f"{name}-{key.removesuffix('_file')}", value), Path(value), f"{name}.{key}"))
    return found


def _file_name(setting: str, path: str) -> str:
    """Return a name that is valid for credentials of systemd and keys of a Secret."""
    return "".join(each if each.isascii() and (each.isalnum() or each == "-") else "-" for each in setting) + PurePosixPath(path).suffix


def _differing(settings: msgspec.Struct, defaults: msgspec.Struct) -> dict[str, Any]:
    values: Mapping[str, Any] = msgspec.to_builtins(settings)
    usual: Mapping[str, Any] = msgspec.to_builtins(defaults)
    return {key: value for key, value in values.items() if value != usual[key]}
