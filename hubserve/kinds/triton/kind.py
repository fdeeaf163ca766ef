"""The kind of Triton models: ``<model>/config.pbtxt`` and ``<model>/<version>/<files>``."""

from pathlib import Path
from typing import Any, Dict

from hubserve.errors import LoadFailed
from hubserve.kinds.base import Kind, LoadedModule, ModuleInfo
from hubserve.kinds.triton.config import CONFIG_NAME, ENSEMBLE, MODEL_NAMES
from hubserve.kinds.triton.model_folder import KIND, is_model, model_file, open_model


class TritonKind(Kind):
    """Models of Triton's model repositories.

    The gateway reads ``config.pbtxt`` and passes the configuration to an instance in ``init_args``: ``config``, ``version`` (a text) and
    ``instance``, which is ``{"index", "kind", "device_id"}``. Without these the folder is read here, and its last version is loaded.
    """

    name = KIND
    looks_for = f"a {CONFIG_NAME}, or numbered folders that hold a {', '.join(MODEL_NAMES.values())}"
    main_file = CONFIG_NAME

    def recognises(self, folder: Path) -> bool:
        """See the base class."""
        return is_model(folder)

    def describe(self, folder: Path) -> ModuleInfo:
        """See the base class; the version is the default one."""
        return open_model(folder).info()

    def code_file(self, folder: Path, init_args: Dict[str, Any]) -> Path:
        """See the base class."""
        name = init_args.get("config", {}).get("default_model_filename") or "model.py"
        return Path(folder, init_args.get("version", ""), name)

    def import_only(self, folder: Path, import_name: str) -> None:  # noqa: ARG002 - the base class's signature
        """Check that the files of each version exist; a model's code runs only when it is loaded."""
        model = open_model(folder)
        for version in model.versions if model.backend != ENSEMBLE else []:
            model_file(folder / str(version), model.config, model.backend)

    def load(self, folder: Path, import_name: str, init_args: Dict[str, Any], defaults: Dict[str, Any]) -> LoadedModule:  # noqa: ARG002 - as above
        """See the base class."""
        if "config" in init_args:
            config, version = init_args["config"], init_args["version"]
        else:
            model = open_model(folder)
            config, version = model.config, str(model.versions[-1])
        instance = {"index": 0, "kind": "CPU", "device_id": 0, **init_args.get("instance", {})}
        backend = config["backend"] or config["platform"]
        if backend == ENSEMBLE:
            raise LoadFailed(f"model '{config['name']}' is an ensemble: it runs in a server that serves its steps, not by itself")
        if backend == "python":
            from hubserve.kinds.triton.python_backend import load_python_model

            return load_python_model(
                folder / version, config, config["name"], version, instance["index"], instance["kind"], instance["device_id"]
            )
        from hubserve.kinds.triton.file_backend import load_file_model

        return load_file_model(folder / version, config, use_gpu=instance["kind"] == "GPU")
