"""The kind of tiinfer scripts: ``model_service.py`` with a subclass of ``tiinfer.Model``."""

import os
import sys
import urllib.request  # noqa: F401 - scripts say "import urllib" and use urllib.request
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Mapping, Type

from hubserve.errors import LoadFailed
from hubserve.kinds.annotations import import_leniently
from hubserve.kinds.base import Kind, ModuleInfo
from hubserve.kinds.import_hooks import share_with_children
from hubserve.kinds.module_failures import failures_named
from hubserve.kinds.project_imports import search_beside
from hubserve.kinds.removed_names import runtime
from hubserve.kinds.tiinfer.fetching import refuse_other_addresses
from hubserve.kinds.tiinfer.script import TiinferScript
from hubserve.kinds.tiinfer.script_log import start_logging
from hubserve.kinds.tiinfer.source import SCRIPT, read_script
from hubserve.kinds.tiinfer.variables import read_variables

KIND = "tiinfer"
_LEGACY_KERAS = "TF_USE_LEGACY_KERAS"
#: levels of folders in which a SavedModel is looked for
_LEVELS = 3


class TiinferKind(Kind):
    """Scripts of tiinfer; the ``TI_*`` variables of an instance are those that tiinfer itself reads."""

    name = KIND
    looks_for = f"a {SCRIPT} with a subclass of tiinfer.Model"
    main_file = SCRIPT

    def recognises(self, folder: Path) -> bool:
        """See the base class; a ``model_service.py`` is enough."""
        return (folder / SCRIPT).is_file()

    def describe(self, folder: Path) -> ModuleInfo:
        """See the base class."""
        script = read_script(folder)
        return ModuleInfo(
            script.name, script.version, KIND, summary=script.summary, serving_method="predict", runnable=True, **script.python
        )

    def code_file(self, folder: Path, init_args: Dict[str, Any]) -> Path:  # noqa: ARG002 - the base class's signature
        """See the base class."""
        return folder / SCRIPT

    def instance_count(self, folder: Path, environ: Mapping[str, str]) -> int:
        """See the base class: ``TI_INFERENCE_NUMS``, or ``self.workers`` of the script, or one."""
        return read_variables(environ).instances or read_script(folder).workers or 1

    def import_only(self, folder: Path, import_name: str) -> None:  # noqa: ARG002 - as above
        """See the base class."""
        _import_class(folder)

    def load(self, folder: Path, import_name: str, init_args: Dict[str, Any], defaults: Dict[str, Any]) -> TiinferScript:  # noqa: ARG002 - as above
        """See the base class; ``init_args`` are further arguments of the constructor."""
        variables = read_variables(os.environ)
        start_logging()
        script = TiinferScript(_import_class(folder), folder, init_args, variables)
        refuse_other_addresses()  # from now on requests decide what is fetched
        return script


def _import_class(folder: Path) -> Type[Any]:
    """Import a script, and return the first class by name that derives from ``tiinfer.Model``.

    Raises:
        LoadFailed: the import fails, or there is no such class.
    """
    runtime.install()
    _choose_keras(folder)
    sys.path.insert(0, str(folder))
    name = SCRIPT[: -len(".py")]
    search_beside(name, folder)
    share_with_children()
    with failures_named(f"cannot import '{folder / SCRIPT}'"):
        base: Type[Any] = import_module("tiinfer").Model
        module = import_leniently(name)
    found = [getattr(module, each) for each in dir(module)]
    models = [each for each in found if isinstance(each, type) and issubclass(each, base) and each is not base]
    if not models:
        raise LoadFailed(
            f"'{folder / SCRIPT}' has no subclass of tiinfer.Model. Derive the class of the script from it: class MyModel(tiinfer.Model)."
        )
    return models[0]


def _choose_keras(folder: Path) -> None:
    """Let ``tf.keras`` be Keras 2 for a script with a SavedModel, which Keras 3 cannot load; a user's own choice stays."""
    if _LEGACY_KERAS not in os.environ and find_spec("tf_keras") is not None and _has_saved_model(folder):
        os.environ[_LEGACY_KERAS] = "1"


def _has_saved_model(folder: Path) -> bool:
    patterns = ("*/" * level + "saved_model.pb" for level in range(_LEVELS))
    return any(True for pattern in patterns for _ in folder.glob(pattern))
