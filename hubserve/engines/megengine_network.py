"""One network of MegEngine Lite, and the names and shapes that its file records."""

import ctypes
import logging
import re
import struct
import warnings
from pathlib import Path
from typing import Any, List, Mapping

import numpy as np

from hubserve.engines.package_imports import import_package
from hubserve.errors import LoadFailed
from hubserve.types import TensorSpec, native

_INSTALL = (
    "Install it with: pip install 'megengine==1.13.0' 'numpy<1.24' 'setuptools<81' (on Python 3.8 or 3.10), or let the model run in its "
    "own environment: hub env build megengine"
)
#: a layout's ``data_type``, by its number; Lite's own tables lack some
_DTYPES = {0: "float32", 1: "float16", 2: "int32", 3: "int16", 4: "int8", 5: "uint8", 6: "uint16"}
_NUMBERS = {dtype: number for number, dtype in _DTYPES.items()}
#: files begin with the length of the rest, an offset and this
_MAGIC = b"mgv2"
_HEAD = struct.Struct("<I4x4s")
_LENGTH_BYTES = 4
_ASSERTION = re.compile(r"^(assertion `.*' failed) at .*?:\d+: .*$", re.MULTILINE)
_MORE = "extra message: "


def check_length(graph: Path) -> None:
    """Raise LoadFailed for a file that is shorter or longer than its head says; Lite may crash on it.

    Files of MegEngine before 1.8 do not say their length.
    """
    try:
        size = graph.stat().st_size
        with graph.open("rb") as file:
            head = file.read(_HEAD.size)
    except OSError as error:
        raise LoadFailed(f"cannot read the model file '{graph}': {error.strerror}. Check that it is there and may be read.") from None
    if not size:
        raise LoadFailed(f"'{graph}' is empty. Dump or copy the model again.")
    if len(head) == _HEAD.size:
        rest, magic = _HEAD.unpack(head)
        # lengths from 4 GiB on do not fit into the head
        if magic == _MAGIC and size < 1 << 32 and rest + _LENGTH_BYTES != size:
            state = "cut short" if size < rest + _LENGTH_BYTES else "damaged"
            raise LoadFailed(f"'{graph}' is {state}: it has {size} of {rest + _LENGTH_BYTES} bytes. Dump or copy the model again.")


def import_lite() -> Any:
    """Import MegEngine Lite, without the rest of MegEngine.

    Raises:
        MissingDependency: it is not installed.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pkg_resources")  # which it imports, and which newer versions of setuptools lack
        lite: Any = import_package("megenginelite", "the megengine engine", _INSTALL)
    from megenginelite.tensor import _lite_dtypes_to_ctype  # type: ignore[import-not-found]

    _lite_dtypes_to_ctype.setdefault(lite.LiteDataType.LITE_HALF, ctypes.c_ushort)  # without it tensors of float16 raise KeyError
    root = logging.getLogger()
    if _is_not_of_lite not in root.filters:
        root.addFilter(_is_not_of_lite)
    return lite


def _is_not_of_lite(record: logging.LogRecord) -> bool:
    """Return False for what Lite logs of each error that it raises, backtrace included: it is logged where it is reported."""
    return not (record.funcName == "_errcheck" and "megenginelite" in record.pathname)


def gpus(lite: Any) -> int:
    """Return the number of GPUs that MegEngine can use."""
    try:
        return int(lite.LiteGlobal.get_device_count(lite.LiteDeviceType.LITE_CUDA))
    except RuntimeError:  # it was built without CUDA
        return 0


class Network:
    """A network that Lite has loaded.

    Args:
        graph: its file.
        threads: of one call.
        use_gpu: compute on the first visible GPU.

    Attributes:
        inputs, outputs: as it was traced.
        version: of MegEngine.

    Raises:
        LoadFailed: a tensor's datatype cannot be served.
        RuntimeError: Lite cannot load it; the text is Lite's without its backtrace.
    """

    def __init__(self, graph: Path, threads: int, use_gpu: bool) -> None:
        self._lite = lite = import_lite()
        options = lite.LiteOptions()
        options.var_sanity_check_first_run = False  # checks operators for errors of MegEngine's own, and takes a second at the first call
        device = lite.LiteDeviceType.LITE_CUDA if use_gpu else lite.LiteDeviceType.LITE_CPU
        self.version = str(lite.version)
        try:
            self._network = lite.LiteNetwork(lite.LiteConfig(device, options))
            if threads == 1 and not use_gpu:
                self._network.enable_cpu_inplace_mode()  # computes in this thread, without handing each call to another one
            else:
                self._network.threads_number = threads  # has no effect after loading
            self._network.load(str(graph))
        except RuntimeError as error:
            raise RuntimeError(plainly(str(error))) from None
        # Lite lists inputs in an order of its own; those without names were dumped as arg_0, arg_1, ...
        self.inputs = [self._spec(name) for name in sorted(self._network.get_all_input_name() or (), key=_by_numbers)]
        self.outputs = [self._spec(name) for name in self._network.get_all_output_name() or ()]
        self._tensors = {spec.name: (self._network.get_io_tensor(spec.name), _NUMBERS[spec.dtype]) for spec in self.inputs}

    def _spec(self, name: str) -> TensorSpec:
        layout = self._network.get_io_tensor(name).layout
        dtype = _DTYPES.get(int(layout.data_type))
        if dtype is None:
            raise LoadFailed(f"tensor '{name}' has MegEngine's data type {int(layout.data_type)}, which cannot be served")
        return TensorSpec(name, dtype, tuple(int(length) for length in layout.shapes))

    def compute(self, inputs: Mapping[str, np.ndarray]) -> List[np.ndarray]:
        """Compute one batch.

        Returns:
            The outputs in their order, each with memory of its own.
        Raises:
            RuntimeError: Lite cannot compute it; the text is Lite's without its backtrace.
        """
        try:
            for name, (tensor, number) in self._tensors.items():
                array = np.ascontiguousarray(native(inputs[name]))
                layout = self._lite.LiteLayout(array.shape, self._lite.LiteDataType(number))
                tensor.set_data_by_copy(array.ctypes.data_as(ctypes.c_void_p), array.nbytes, layout)
            self._network.forward()
            self._network.wait()
            # copies: the network computes the next batch into the same memory
            return [self._network.get_io_tensor(spec.name).to_numpy() for spec in self.outputs]
        except RuntimeError as error:
            raise RuntimeError(plainly(str(error))) from None


def plainly(text: str) -> str:
    """Return what Lite says of an error, without the place in its sources and without the backtrace."""
    said = text.partition("\nbacktrace:")[0].rpartition(", Error Code:")[0] or text.partition("\nbacktrace:")[0]
    before, _, more = said.partition(_MORE)
    return (more or _ASSERTION.sub(r"\1", before)).replace("Error: ", "").strip()


def _by_numbers(name: str) -> List[Any]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
