"""The package ``tiinfer`` for inference scripts, if the real one is not installed: the parts that scripts use."""

import os
from typing import Any

from tiinfer.model import Model

__all__ = [
    "IMPORT_MODULE_NAME",
    "Is_Multi_Framework_Type",
    "Model",
    "__version__",
    "append_worker",
    "get_ti_inference_max_batch_size",
    "get_ti_inference_nums",
    "get_ti_model_dir",
    "get_ti_postprocess_nums",
    "get_ti_preprocess_nums",
]

#: the release that this package emulates
__version__ = "0.1.5"
IMPORT_MODULE_NAME = "model_service"


def get_ti_model_dir() -> str:
    """Return the folder of the script, or ``TI_MODEL_DIR``."""
    return os.environ.get("TI_MODEL_DIR") or os.path.dirname(os.path.abspath(_script_file()))


def get_ti_preprocess_nums() -> int:
    """Return ``TI_PREPROCESS_NUMS``, or 0."""
    return _number("TI_PREPROCESS_NUMS", 0)


def get_ti_inference_nums() -> int:
    """Return ``TI_INFERENCE_NUMS``, or 1."""
    return _number("TI_INFERENCE_NUMS", 1)


def get_ti_postprocess_nums() -> int:
    """Return ``TI_POSTPROCESS_NUMS``, or 0."""
    return _number("TI_POSTPROCESS_NUMS", 0)


def get_ti_inference_max_batch_size() -> int:
    """Return ``TI_INFERENCE_MAX_BATCH_SIZE``, or 1."""
    return _number("TI_INFERENCE_MAX_BATCH_SIZE", 1)


def Is_Multi_Framework_Type() -> bool:  # noqa: N802 - the published name
    """Return True if ``preprocess`` or ``postprocess`` has objects of its own."""
    return bool(get_ti_preprocess_nums() or get_ti_postprocess_nums())


def append_worker(*_args: Any, **_kwargs: Any) -> None:
    """Refuse workers of mosec, the other form of a script.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError(
        "hubserve runs scripts with a subclass of tiinfer.Model; it has no mosec, whose workers tiinfer.append_worker adds. "
        "Write preprocess, predict and postprocess of a tiinfer.Model instead"
    )


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip()
    return int(text) if text.isdigit() else default


def _script_file() -> str:
    import sys

    script = sys.modules.get(IMPORT_MODULE_NAME)
    return getattr(script, "__file__", None) or sys.argv[0]
