"""The names that a module's author imports.

A module is a class with :func:`moduleinfo` on it. With :func:`serving` on a method it answers JSON, one request at a time::

    from hubserve.module import moduleinfo, serving

    @moduleinfo(name="shout", version="1.0.0", summary="Says it louder")
    class Shout:
        @serving
        def shout(self, text):
            return text.upper()

With :func:`batch` on a method that computes many items at once, the server merges the items of many requests, and
takes arrays and (with a ``preprocess`` method) pictures too. One request then passes through::

    JSON arrays -----------.
    raw arrays  ------------+-> the @batch method, many requests at once -> postprocess(outputs, elapse_s), one request at a time
    pictures -> preprocess -'

A module whose pictures are not one batch (a pipeline of several networks, say) takes encoded pictures with :func:`pictures`.

Everything here works with the standard library and numpy on Python 3.8 and later.
"""

import base64
import os
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, TypeVar, overload

import numpy as np

from hubserve.base64_text import decode_base64
from hubserve.errors import InvalidInput, LoadFailed, shown
from hubserve.types import ANY, TensorSpec, array_from_bytes, packed
from hubserve.wire.current_requests import current_trace

__all__ = [
    "ANY",
    "BatchSpec",
    "JsonArray",
    "TensorSpec",
    "batch",
    "current_trace",
    "decode_array",
    "decode_base64",
    "encode_array",
    "find_file",
    "find_folder",
    "instance_threads",
    "moduleinfo",
    "pictures",
    "runnable",
    "serving",
]

F = TypeVar("F", bound=Callable[..., Any])

#: Set by the server for each instance: folders in which relative model paths are looked up, and its share of the cores.
SEARCH_PATH_VARIABLE = "HUBSERVE_SEARCH_PATH"
#: folders to import from behind the packages of an instance's own environment
BEHIND_VARIABLE = "HUBSERVE_PYTHONPATH"
THREADS_VARIABLE = "HUBSERVE_THREADS"


class JsonArray(NamedTuple):
    """The keys under which a JSON request carries its batch as one base64 array.

    Attributes:
        data: the key of the base64 text of the raw little-endian bytes.
        about: the key of an object with ``shape`` and ``dtype``.
    """

    data: str = "images"
    about: str = "revert_params"


class BatchSpec(NamedTuple):
    """The arguments of :func:`batch`; see there."""

    json: Optional[JsonArray]
    max_batch_size: int


def moduleinfo(
    name: str,
    version: str,
    author: str = "",
    author_email: str = "",
    summary: str = "",
    type: str = "",  # noqa: A002 - the published name of the argument
    meta: Any = None,
    requires_python: str = "",  # noqa: ARG001 - read from the source, as is the next
    environment: Optional[Dict[str, Any]] = None,  # noqa: ARG001
) -> Callable[[type], type]:
    """Name a class as the module of its file.

    The arguments must be literals: they are read from the source without running it. ``meta`` is accepted as in PaddleHub;
    a class given there becomes a base of the module. ``requires_python`` (``">=3.8,<3.10"``) and ``environment`` choose the Python that
    the module runs in; docs/environments.md describes them.
    """

    def decorate(cls: Any) -> Any:
        if meta is not None and not issubclass(cls, meta):
            bases = tuple(base for base in cls.__bases__ if not issubclass(meta, base)) + (meta,)
            members = {key: value for key, value in vars(cls).items() if key not in ("__dict__", "__weakref__")}
            cls = _with_own_super(cls.__class__(cls.__name__, bases, members))
        cls.name, cls.version, cls.author, cls.author_email = name, version, author, author_email
        cls.summary, cls.type = summary, type
        cls.is_hub_module = True
        return cls

    return decorate


def _with_own_super(cls: type) -> type:
    """Point ``super()`` in the methods of a class that was copied from another one at the copy."""
    for member in vars(cls).values():
        function = getattr(member, "__func__", member)
        code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
        for name, cell in zip(code.co_freevars if code else (), cells):
            if name == "__class__":
                cell.cell_contents = cls
    return cls


def serving(method: F) -> F:
    """Mark the method behind ``/predict/<name>``: a JSON object's keys are its arguments, what it returns is the result."""
    method._serving = True  # type: ignore[attr-defined]  # functions take attributes
    return method


def runnable(method: F) -> F:
    """Mark the method behind ``hub run <name>``: it gets the list of arguments, and what it returns is printed."""
    method._runnable = True  # type: ignore[attr-defined]  # as above
    return method


def pictures(method: F) -> F:
    """Mark the method that answers encoded pictures, one request at a time, where they are not items of a :func:`batch` method.

    It is called with the request's pictures, uint8 (H, W, 3) BGR: an iterable with a ``len`` that decodes each picture when it is
    reached. The server's ``predict_args`` are its keyword arguments; what it returns is the result.
    """
    method._pictures = True  # type: ignore[attr-defined]  # as above
    return method


@overload
def batch(json: F) -> F: ...


@overload
def batch(json: Optional[JsonArray] = None, max_batch_size: int = 32) -> Callable[[F], F]: ...


def batch(json: Any = None, max_batch_size: int = 32) -> Any:
    """Mark the method that computes many items at once; without arguments, ``@batch`` and ``@batch()`` are the same.

    It is called with one keyword argument per input, an array whose first dimension is the batch, and returns one array
    (or a dict of arrays) with the same first dimension. The arrays that it is given are valid until it returns: copy what you
    keep. The object must have attributes ``inputs`` and ``outputs``, lists of :class:`TensorSpec`, once it is constructed; an
    engine's can be used as they are. Two more methods are used where present:

    - ``preprocess(picture)``: one decoded picture, uint8 (H, W, 3) BGR -> one item, without the batch dimension; it is called from another
      thread while the previous batch is computed, so it must not change what the batch method uses;
    - ``postprocess(outputs, elapse_s)``: one request's share of what the batch method returned -> that request's JSON answer.

    An optional attribute ``output_labels`` names the classes of an output: ``{"scores": ["cat", "dog"]}``.

    Args:
        json: the keys of a JSON request that hold the batch; without it JSON requests go to the :func:`serving` method. An attribute
            ``json_array`` of the object takes precedence.
        max_batch_size: the most items in one call; an attribute ``max_batch_size`` of the object takes precedence, and settings can lower
            it.
    """
    if callable(json):
        return batch()(json)
    if max_batch_size < 1:
        raise ValueError(f"max_batch_size must be 1 or more, got {max_batch_size}")

    def decorate(method: F) -> F:
        method._batch = BatchSpec(json, max_batch_size)  # type: ignore[attr-defined]  # as above
        return method

    return decorate


def decode_array(data: Any, about: Any) -> np.ndarray:
    """Decode a base64 array of a JSON request.

    Args:
        data: base64 text (or bytes) of raw little-endian bytes in C order.
        about: ``{"shape": [...], "dtype": "float32"}``.
    Returns:
        The array, read-only.
    Raises:
        InvalidInput: the base64 is broken, or shape and dtype do not describe it.
    """
    check_about(about)
    try:
        raw = decode_base64(data)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the array is not valid base64: {error}") from None
    return array_from_bytes(raw, about["dtype"], about["shape"])


def check_about(about: Any) -> None:
    """Raise InvalidInput unless ``about`` is an object with ``shape`` and ``dtype``."""
    if not isinstance(about, dict) or not {"shape", "dtype"} <= set(about):
        raise InvalidInput(f"an array is described by {{'shape': [...], 'dtype': '...'}}, got {shown(about)}")


def encode_array(array: np.ndarray) -> Tuple[str, Dict[str, Any]]:
    """Encode an array for :func:`decode_array`: base64 text and ``{"shape", "dtype"}``.

    Raises:
        InvalidInput: arrays of its dtype cannot be sent.
    """
    dtype, data = packed(array)
    return base64.b64encode(data).decode("ascii"), {"shape": list(np.shape(array)), "dtype": dtype}


def instance_threads() -> int:
    """Return the number of threads that this instance should compute with: its share of the machine's cores."""
    configured = os.environ.get(THREADS_VARIABLE, "")
    return int(configured) if configured.isdigit() and configured != "0" else len(os.sched_getaffinity(0))


def _search_path(module_directory: Any) -> List[Path]:
    configured = [Path(each) for each in os.environ.get(SEARCH_PATH_VARIABLE, "").split(os.pathsep) if each]
    # PaddleHub modules are written to run from the folder that holds the module's folder; the module's own folder comes last.
    own = Path(module_directory).absolute()
    ordered = [Path.cwd(), *configured, own.parent, own]
    return list(dict.fromkeys(ordered))


def _find(path: Any, module_directory: Any, exists: Callable[[Path], bool], what: str) -> Path:
    wanted = Path(path).expanduser()
    tried = [wanted] if wanted.is_absolute() else [base / wanted for base in _search_path(module_directory)]
    for candidate in tried:
        if exists(candidate):
            return candidate.resolve()
    searched = ", ".join(str(each) for each in tried)
    raise LoadFailed(f"cannot find the {what} '{path}': looked at {searched}. Give an absolute path or put it there.")


def find_folder(path: Any, module_directory: Any) -> Path:
    """Find a folder that a module's parameters name.

    A relative path is looked up in the working directory, the folder of the server's configuration file, the folder that the
    module was installed from, and the module's own, in that order.

    Raises:
        LoadFailed: it is in none of them; the message lists every path that was tried.
    """
    return _find(path, module_directory, Path.is_dir, "folder")


def find_file(path: Any, module_directory: Any) -> Path:
    """Find a file as :func:`find_folder` finds a folder."""
    return _find(path, module_directory, Path.is_file, "file")
