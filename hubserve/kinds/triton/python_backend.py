"""Load models of Triton's Python backend: a ``model.py`` with a class ``TritonPythonModel``."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Dict

from hubserve.errors import LoadFailed
from hubserve.kinds.import_hooks import share_with_children
from hubserve.kinds.module_failures import failures_named
from hubserve.kinds.triton.api.config import set_model_dir
from hubserve.kinds.triton.python_config import complete, describe
from hubserve.kinds.triton.python_model import TritonPythonModule

#: the modules that models import; the second one is compiled in Triton, and imported for the types in it
_API = ("triton_python_backend_utils", "c_python_backend_utils")


def load_python_model(
    version_folder: Path,
    config: Dict[str, Any],
    model_name: str,
    model_version: str,
    instance_index: int = 0,
    instance_kind: str = "CPU",
    device_id: int = 0,
) -> TritonPythonModule:
    """Import ``model.py``, complete the configuration, and construct and initialize the model.

    Args:
        version_folder: ``<model>/<version>``; its parent is the model's repository.
        config: the JSON form of ``inference.ModelConfig``, with the field names of the ``.proto`` file; numbers may be texts.
        model_name: the served name.
        model_version: the served version.
        instance_index: counted from 0 among the model's instances.
        instance_kind: "CPU" or "GPU".
        device_id: the GPU's number.
    Returns:
        A module with ``raw_requests``; its ``description.config`` is the completed configuration.
    Raises:
        LoadFailed: with the reason.
    """
    model_file = version_folder / (config.get("default_model_filename") or "model.py")
    cls = _import_class(version_folder, model_file, f"'{model_name}' version {model_version}")
    completed = complete(cls, config, model_name, model_file)
    description = describe(completed, model_name)
    arguments = {
        "model_config": json.dumps(completed),
        "model_instance_kind": instance_kind,
        "model_instance_name": f"{model_name}_0_{instance_index}",
        "model_instance_device_id": str(device_id),
        "model_repository": str(version_folder.parent),
        "model_version": str(model_version),
        "model_name": model_name,
    }
    with failures_named(f"cannot construct TritonPythonModel of '{model_file}'"):
        model = cls()
    module = TritonPythonModule(model, description, model_name, str(model_version))
    if hasattr(model, "initialize"):
        with failures_named(f"initialize() of '{model_file}' failed"):
            model.initialize(arguments)
    module.enable_calls()
    return module


def _import_class(version_folder: Path, model_file: Path, model: str) -> Any:
    if not model_file.is_file():
        raise LoadFailed(f"{model} has no '{model_file}'. Put the model's code there.")
    set_model_dir(str(version_folder))
    with failures_named(f"cannot import '{model_file}'"):
        cls = getattr(_import(version_folder, model_file), "TritonPythonModel", None)
    if cls is None:
        raise LoadFailed(f"'{model_file}' has no class TritonPythonModel. Give its class that name.")
    if not callable(getattr(cls, "execute", None)):
        raise LoadFailed(f"the class TritonPythonModel in '{model_file}' has no method execute(self, requests). Add it.")
    return cls


def _import(version_folder: Path, model_file: Path) -> ModuleType:
    """Import the file as ``<version>.model``, so that both ``from .other import ...`` and ``import other`` work in it."""
    for name in _API:
        sys.modules[name] = importlib.import_module("hubserve.compat." + name)
    for folder in (version_folder, version_folder.parent):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    share_with_children()
    importlib.invalidate_caches()
    relative = model_file.relative_to(version_folder).with_suffix("")
    return importlib.import_module(".".join([version_folder.name, *relative.parts]))
