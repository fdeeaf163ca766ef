"""Convert Paddle's files to ONNX, once, and keep the result.

The converter imports Paddle, leaves the process on some failures and crashes on others, so it works in a child process.
"""

import inspect
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from hubserve.engines.base import ModelFiles
from hubserve.engines.failures import reason
from hubserve.engines.file_cache import converted_once, put_in_place
from hubserve.engines.model_files import digest, names, usual_names
from hubserve.engines.package_imports import import_package, import_paddle
from hubserve.engines.package_versions import version_of
from hubserve.engines.subprocess_call import ChildFailed, call_in_child
from hubserve.errors import LoadFailed, MissingDependency
from hubserve.paths import cache_dir

_OPSET = 17
_TIMEOUT_S = 600.0
_OTHERWISE = "use engine 'paddle' for this model, or give an .onnx file."
_INSTALL = (
    "Install it with: pip install paddle2onnx paddlepaddle (or: pip install 'hubserve[fast,cpu]'; none exists for Python 3.13). "
    + "Or "
    + _OTHERWISE
)


def onnx_of(files: ModelFiles, again: bool = False) -> Path:
    """Return the ONNX form of a Paddle model; convert it unless that was done before.

    Args:
        files: the Paddle model.
        again: convert even if there is one already, because it turned out to be damaged.
    Returns:
        A file in the cache folder, named by the digest of the model and the converter's version.
    Raises:
        MissingDependency: there is no kept conversion, and no converter.
        LoadFailed: the converter cannot convert this model, or the cache cannot be written.
    """
    converted = cache_dir() / "onnx" / f"{digest(files, version_of('paddle2onnx'), str(_OPSET))}.onnx"
    return converted_once(converted, files.graph, partial(_convert, files, converted), again)


def _convert(files: ModelFiles, converted: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="converting-", dir=str(converted.parent)) as folder, usual_names(files) as (graph, weights):
        draft = Path(folder) / "model.onnx"
        arguments = [str(graph), str(weights) if files.weights else "", str(draft)]
        try:
            call_in_child(f"{__name__}:convert_here", arguments, _TIMEOUT_S)
        except ChildFailed as error:
            error.args = (_told(files, error),)
            raise
        except MissingDependency:
            raise
        except LoadFailed as error:
            raise LoadFailed(_told(files, error), error.detail) from error
        put_in_place(draft, converted)


def _told(files: ModelFiles, error: LoadFailed) -> str:
    """Return a message that names both files: the converter often reports only that it failed."""
    named = " and ".join(names(files))
    return f"cannot convert {named} in '{files.graph.parent}' to ONNX: {error.message}. Are the files whole? If so: {_OTHERWISE}"


def convert_here(graph: str, weights: str, output: str) -> None:
    """Convert in this process; :func:`onnx_of` calls it in a child.

    Raises:
        MissingDependency: Paddle or paddle2onnx cannot be imported.
        LoadFailed: the converter failed.
    """
    import_paddle("converting a Paddle model to ONNX")
    converter: Any = import_package("paddle2onnx", "converting a Paddle model to ONNX", _INSTALL)
    # paddle2onnx 2 folds constants with Polygraphy by default, and has Polygraphy download packages for that.
    wanted = {"opset_version": _OPSET, "enable_onnx_checker": True, "verbose": False, "optimize_tool": "None"}
    known = inspect.signature(converter.export).parameters
    try:
        converter.export(graph, weights, output, **{key: value for key, value in wanted.items() if key in known})
    except SystemExit as error:
        raise LoadFailed(f"paddle2onnx gave up with exit status {error.code}") from error
    except Exception as error:
        raise LoadFailed(f"paddle2onnx failed: {reason(error)}", detail=str(error)) from error
    if not os.path.isfile(output) or not os.path.getsize(output):
        raise LoadFailed("paddle2onnx wrote nothing")
