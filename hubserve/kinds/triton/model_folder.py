"""Read the folder of a Triton model: its configuration, its backend and its versions. None of its code is run."""

from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from hubserve.engines.model_formats import FORMATS, backend_of_file
from hubserve.engines.table import AUTO, environment_for
from hubserve.engines.torch_code import code_of
from hubserve.errors import ConfigError, LoadFailed
from hubserve.kinds.base import ModuleInfo
from hubserve.kinds.triton.config import (
    CONFIG_NAME,
    ENSEMBLE,
    MODEL_NAMES,
    backend_of,
    empty_config,
    engine_of,
    parse_config_json,
    read_config,
)
from hubserve.kinds.triton.fields import check_config

KIND = "triton"
#: backend -> the names of its model in a version's folder, a file or a folder of files; the first that exists is used
_NAMES = {**{backend: each.stored for backend, each in FORMATS.items()}, "python": ("model.py",)}


class TritonModel(NamedTuple):
    """Contents of a model's folder.

    Attributes:
        name: the served name.
        folder: ``<store>/<model>``.
        config: as :mod:`hubserve.kinds.triton.config` reads it; missing parts are completed when the model is loaded.
        backend: the model's.
        versions: the served ones, ascending; the last one is the default.
    """

    name: str
    folder: Path
    config: Dict[str, Any]
    backend: str
    versions: List[int]

    def info(self, version: Optional[int] = None) -> ModuleInfo:
        """Return the metadata of a version, by default of the last one."""
        shown = str(version or self.versions[-1])
        return ModuleInfo(
            self.name,
            shown,
            KIND,
            summary=f"Triton model, backend {self.backend}",
            runnable=self.backend not in ("python", ENSEMBLE),
            batches=self.merges,
            environment=environment_for(self.engine) if self.engine else None,
        )

    @property
    def engine(self) -> str:
        """The engine whose package its instances need; "" for a model without a file."""
        return self.engine_on()

    def engine_on(self, *, use_gpu: bool = False) -> str:
        """Return the same for instances on CPUs or GPUs."""
        if self.backend not in FORMATS:
            return ""
        named = engine_of(self.config, self.backend, use_gpu)
        return FORMATS[self.backend].engine if named == AUTO else named

    @property
    def merges(self) -> bool:
        """True if requests may be merged, as far as is known before it is loaded."""
        return self.backend not in ("python", ENSEMBLE) and "sequence_batching" not in self.config


def is_model(folder: Path) -> bool:
    """Return True for the folder of a Triton model, judged by its files alone."""
    numbers = _numbered(folder)
    return (folder / CONFIG_NAME).is_file() or bool(_backend_by_file(folder, numbers)) or _low_config(folder, numbers) is not None


def open_model(folder: Path, name: str = "", config: Optional[Mapping[str, Any]] = None) -> TritonModel:
    """Read the folder of a model.

    Args:
        folder: it holds ``config.pbtxt`` and a folder for each version.
        name: the served name; by default the one in the configuration, else the folder's.
        config: a decoded JSON object that replaces ``config.pbtxt``; its numbers may be texts.
    Raises:
        ConfigError: the configuration is not supported; the message names the cause.
        LoadFailed: there is no version, or no model file.
        MissingDependency: a package that reads the configuration is not installed.
    """
    read = _read(folder, config)
    name = _name(read, folder, name)
    numbers = _numbered(folder)
    read["name"] = name
    backend = backend_of(read) or (ENSEMBLE if "ensemble_scheduling" in read else _backend_by_file(folder, numbers))
    if not backend:
        known = ", ".join(f"{each} ({file})" for each, file in MODEL_NAMES.items())
        raise LoadFailed(f"model '{name}': neither 'backend' in '{folder / CONFIG_NAME}' nor a model file says which backend: {known}")
    if backend == ENSEMBLE and not read.get("ensemble_scheduling", {}).get("step"):
        raise ConfigError(f"model '{name}': an ensemble needs ensemble_scheduling with at least one step")
    read["backend"] = "" if backend == ENSEMBLE else backend
    read["platform"] = ENSEMBLE if backend == ENSEMBLE else read["platform"]
    check_config(read, backend)
    _check_labels(folder, read)
    versions = _chosen(name, folder, numbers, read.get("version_policy", {}), may_lack=backend == ENSEMBLE)
    return TritonModel(name, folder, read, backend, versions)


def _read(folder: Path, config: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    if config is not None:
        return parse_config_json(dict(config), f"the configuration that was sent for '{folder.name}'")
    return own_config(folder)


def own_config(folder: Path) -> Dict[str, Any]:
    """Read a model's ``config.pbtxt``; a missing one is an empty configuration.

    Raises:
        ConfigError, MissingDependency: see :func:`hubserve.kinds.triton.config.read_config`.
    """
    path = folder / CONFIG_NAME
    if path.is_file():
        return read_config(path)
    low = _low_config(folder, _numbered(folder))
    if low:
        raise ConfigError(f"'{low}' is in the folder of a version, where it has no effect. Move it up, to '{path}'.")
    return empty_config()


def _low_config(folder: Path, numbers: List[int]) -> Optional[Path]:
    """Return a configuration in the folder of a version, where it has no effect, or None."""
    return next((each for number in numbers if (each := folder / str(number) / CONFIG_NAME).is_file()), None)


def _name(config: Mapping[str, Any], folder: Path, name: str) -> str:
    written = str(config.get("name", ""))
    if name and written and written != name:
        raise ConfigError(f"'{folder / CONFIG_NAME}' names the model '{written}', but it is '{name}' here. Make the two equal.")
    return name or written or folder.name


def model_file(folder: Path, config: Mapping[str, Any], backend: str) -> Path:
    """Return the model's file, or folder of files, in a version's folder.

    Raises:
        LoadFailed: it does not exist; the message lists the names that were tried.
    """
    names = (config["default_model_filename"],) if config.get("default_model_filename") else _NAMES[backend]
    for each in names:
        if (folder / each).exists():
            return folder / each
    marker = FORMATS[backend].marker if backend in FORMATS else ""
    what = f"the folder with '{marker}'" if marker else "the model"
    raise LoadFailed(
        f"model '{config['name']}': unable to find '{folder / names[0]}': its folder holds no model: looked for {', '.join(names)}. "
        f"Put {what} there, under {'that name' if len(names) == 1 else 'one of these names'}."
    )


def _numbered(folder: Path) -> List[int]:
    try:
        names = [each.name for each in folder.iterdir() if each.is_dir()]
    except OSError as error:
        raise LoadFailed(f"cannot read the model's folder '{folder}': {error.strerror}") from None
    return sorted(int(each) for each in names if each.isascii() and each.isdigit() and not each.startswith("0"))


def _backend_by_file(folder: Path, numbers: List[int]) -> str:
    for number in reversed(numbers):
        for backend, names in _NAMES.items():
            found = [folder / str(number) / each for each in names]
            if any(_is_of(each, backend) for each in found):
                return backend
    return ""


def _is_of(path: Path, backend: str) -> bool:
    if path.is_dir():
        return backend_of_file(path) == backend
    # weights beside the model.py of a Python backend model are that model's own business
    return path.is_file() and not (path.suffix == ".safetensors" and code_of(path) is None)


def _chosen(name: str, folder: Path, numbers: List[int], policy: Mapping[str, Any], may_lack: bool) -> List[int]:
    if not numbers and may_lack:
        return [1]  # an ensemble has no files
    if not numbers:
        raise LoadFailed(f"model '{name}': '{folder}' holds no version: put its files into a folder that is called 1")
    if "all" in policy:
        return numbers
    if "specific" in policy:
        wanted = sorted(set(policy["specific"].get("versions", [])))
        missing = [each for each in wanted if each not in numbers]
        if missing or not wanted:
            what = f"version {missing[0]}, which is not there" if missing else "no version"
            raise ConfigError(f"model '{name}': version_policy names {what}; there are {', '.join(map(str, numbers))}")
        return wanted
    return numbers[-(policy.get("latest", {}).get("num_versions") or 1) :]


def _check_labels(folder: Path, config: Mapping[str, Any]) -> None:
    for output in config["output"]:
        label_filename = output.get("label_filename")
        if label_filename and not (folder / label_filename).is_file():
            raise LoadFailed(
                f"model '{config['name']}': the labels of output '{output['name']}', '{folder / label_filename}', are not there. "
                "Put them there, one a line, or remove label_filename."
            )
