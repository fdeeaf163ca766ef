"""Models of Triton's Python backend: a ``model.py`` with a class ``TritonPythonModel``."""

from pathlib import Path
from typing import Any, Dict

from hubserve.errors import LoadFailed
from hubserve.kinds.base import LoadedModule


def load_python_model(
    version_folder: Path,
    config: Dict[str, Any],
    model_name: str,
    model_version: str,
    instance_index: int = 0,
    instance_kind: str = "CPU",
    device_id: int = 0,
) -> LoadedModule:
    """Import ``model.py``, complete the configuration, and construct and initialize the model.

    Args:
        version_folder: ``<model>/<version>``; its parent is what the model is told as its repository.
        config: the JSON form of ``inference.ModelConfig``, with the field names of the ``.proto`` file; numbers may be texts.
        model_name, model_version: as clients say them.
        instance_index: counted from 0 among the model's instances.
        instance_kind: "CPU" or "GPU".
        device_id: the GPU's number.
    Returns:
        A module with ``whole_requests``; its ``description.config`` is the completed configuration.
    Raises:
        LoadFailed: with the reason.
    """
    model_file = version_folder / (config.get("default_model_filename") or "model.py")
    if not model_file.is_file():
        raise LoadFailed(f"'{model_name}' version {model_version} has no '{model_file}'. Put the model's code there.")
    raise LoadFailed(f"'{model_name}' version {model_version} cannot be loaded yet: '{model_file}'")
