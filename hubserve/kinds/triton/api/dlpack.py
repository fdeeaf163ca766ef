"""Convert between arrays and DLPack capsules by numpy, with the addition of bfloat16 and writable arrays.

numpy has no bfloat16: such numbers are passed as uint16, and the type is changed in the struct of the capsule.

Source of the structs: https://dmlc.github.io/dlpack/latest/c_api.html
"""

import ctypes
import sys
from typing import Any, Tuple

import numpy as np

CPU = 1
_UINT, _BFLOAT = 1, 4
_READ_ONLY = 1
_PLAIN, _VERSIONED = b"dltensor", b"dltensor_versioned"


class _Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]


class _Type(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int),
        ("dtype", _Type),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    ]


class _VersionedHead(ctypes.Structure):
    """``DLManagedTensorVersioned``; an unversioned ``DLManagedTensor`` begins with its tensor."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))


def to_capsule(array: np.ndarray, is_bfloat16: bool, **options: Any) -> Any:
    """Return a capsule that shares an array's memory, or holds a copy if DLPack cannot describe that memory.

    Args:
        array: of numbers; bfloat16 as uint16.
        is_bfloat16: whether the numbers are bfloat16.
        options: of ``__dlpack__`` in the array API standard.
    Raises:
        AttributeError, BufferError, TypeError, RuntimeError: numpy cannot; the text says why.
    """
    capsule = _export(array, options)
    if is_bfloat16:
        _read(capsule)[0].dtype.code = _BFLOAT
    return capsule


def _export(array: np.ndarray, options: Any) -> Any:
    try:
        return array.__dlpack__(**options)
    except TypeError:
        if not options:
            raise
        return _export(array, {})  # older numpy takes no options, and all of them are optional
    except BufferError:
        # the other byte order, strides between elements, or a read-only array, which the capsule cannot express
        if array.dtype.hasobject or options.get("copy") is False:
            raise
        plain = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
        return plain.__dlpack__(**options)


def from_capsule(source: Any) -> Tuple[np.ndarray, bool]:
    """Return an array that shares the memory of another framework's tensor; it is writable unless the tensor is read-only.

    Args:
        source: a capsule, or an object with ``__dlpack__``; a tensor in a GPU's memory is copied from there.
    Returns:
        The array, and whether its numbers (then stored as uint16) are bfloat16.
    Raises:
        AttributeError, BufferError, TypeError, ValueError, RuntimeError: it is not a capsule, or numpy cannot use it; the text says why.
    """
    capsule = _exported_by(source) if hasattr(source, "__dlpack__") else source
    tensor, read_only = _read(capsule)
    if tensor.device.type != CPU:
        capsule = _copied(capsule, tensor.device.type)
        tensor, read_only = _read(capsule)
    is_bfloat16 = (tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes) == (_BFLOAT, 16, 1)
    if is_bfloat16:
        tensor.dtype.code = _UINT
    array = np.from_dlpack(_Capsule(capsule))
    return (array if read_only or array.flags.writeable else _writeable(array)), is_bfloat16


def _copied(capsule: Any, device: int) -> Any:
    """Return a capsule of a copy in the CPU's memory, made by a framework that this process has already imported."""
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None:
        return torch.from_dlpack(capsule).cpu().__dlpack__()
    if cupy is not None:
        return cupy.from_dlpack(_Capsule(capsule, device)).get().__dlpack__()
    raise BufferError(f"it is not in the CPU's memory (device {device}), and its framework is not PyTorch or CuPy; copy it there first")


def _exported_by(source: Any) -> Any:
    try:
        return source.__dlpack__()
    except BufferError:  # read-only, which only a versioned capsule can express
        return source.__dlpack__(max_version=(1, 0))


def _read(capsule: Any) -> Tuple[_Tensor, bool]:
    """Return the struct in a capsule, and whether it is read-only."""
    if _is_valid(capsule, _PLAIN):
        return _Tensor.from_address(_pointer(capsule, _PLAIN)), False
    if _is_valid(capsule, _VERSIONED):
        head = _VersionedHead.from_address(_pointer(capsule, _VERSIONED))
        return head.tensor, bool(head.flags & _READ_ONLY)
    raise TypeError("it is not a DLPack capsule, or one that was consumed already")


class _Capsule:
    """Wrap a bare capsule in the form that numpy and CuPy expect."""

    def __init__(self, capsule: Any, device: int = CPU) -> None:
        self._capsule, self._device = capsule, device

    def __dlpack__(self, **_options: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> Tuple[int, int]:
        return self._device, 0


class _Memory:
    """Expose an array's memory as a writable array."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array  # keeps the memory alive
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False), "strides": array.strides}


def _writeable(array: np.ndarray) -> np.ndarray:
    """Return a writable view: numpy marks the array of an unversioned capsule read-only, because the capsule cannot express it."""
    return np.asarray(_Memory(array))
