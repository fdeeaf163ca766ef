"""Tensors: a name and a numpy array."""

from typing import Any, List, Optional, Tuple

import numpy as np

from hubserve.kinds.triton.api import dlpack
from hubserve.kinds.triton.api.datatypes import BF16, number_of, numpy_to_triton_type
from hubserve.kinds.triton.api.errors import TritonModelException, WrongType
from hubserve.kinds.triton.api.texts import text_of
from hubserve.types import BFLOAT16


class Tensor:
    """A named array in the CPU's memory.

    Args:
        name: its name.
        numpy_array: of any dtype with a datatype; byte strings as ``bytes``, ``str`` or numpy's own.
    Raises:
        TritonModelException: tensors cannot have its dtype, or it is not an array.
    """

    def __init__(self, name: str, numpy_array: np.ndarray) -> None:
        if not isinstance(numpy_array, (np.ndarray, np.generic)):
            raise WrongType(f"Tensor('{name}', ...) needs a numpy array, got {type(numpy_array).__name__}; use np.asarray()")
        self._name = text_of(name)
        self._array = np.asarray(numpy_array)
        self._number = numpy_to_triton_type(self._array.dtype)

    @classmethod
    def from_request(cls, name: str, array: np.ndarray, dtype: str) -> "Tensor":
        """Return a tensor whose datatype cannot be derived from its array.

        Args:
            name: its name.
            array: as received.
            dtype: of its TensorSpec.
        """
        tensor = cls.__new__(cls)
        tensor._name, tensor._array, tensor._number = name, array, number_of(array, dtype)
        return tensor

    def name(self) -> str:
        """Return the name."""
        return self._name

    def as_numpy(self) -> np.ndarray:
        """Return the array; BF16 as uint16, which are the upper halves of float32."""
        return self._array

    def shape(self) -> List[int]:
        """Return one length per dimension."""
        return list(self._array.shape)

    def triton_dtype(self) -> int:
        """Return the number of the datatype."""
        return self._number

    def is_cpu(self) -> bool:
        """Return True: tensors are always in the CPU's memory."""
        return True

    def to_dlpack(self) -> Any:
        """Return a capsule for the ``from_dlpack`` of another framework, which shares the memory.

        Raises:
            TritonModelException: DLPack does not support its datatype; the message says why.
        """
        return self.__dlpack__()

    def __dlpack__(self, stream: Any = None, **options: Any) -> Any:
        if stream is not None:
            options["stream"] = stream
        try:
            return dlpack.to_capsule(self._array, self._number == BF16, **options)
        except (AttributeError, BufferError, TypeError, RuntimeError) as error:
            raise TritonModelException(f"tensor '{self._name}' cannot be exported by DLPack: {error}. Use as_numpy()") from error

    def __dlpack_device__(self) -> Tuple[int, int]:
        return dlpack.CPU, 0

    @staticmethod
    def from_dlpack(name: str, dlpack_tensor: Any) -> "Tensor":
        """Return a tensor that shares another framework's memory; one in a GPU's memory is copied from there.

        Args:
            name: its name.
            dlpack_tensor: an object with ``__dlpack__``, or a capsule.
        Raises:
            TritonModelException: it is not a tensor, numpy cannot use it, or it is in a GPU's memory and no framework here can copy it.
        """
        try:
            array, is_bfloat16 = dlpack.from_capsule(dlpack_tensor)
        except (AttributeError, BufferError, TypeError, ValueError, RuntimeError) as error:
            raise TritonModelException(
                f"tensor '{name}' cannot be imported by DLPack: {error}. Convert it to a numpy array and use Tensor(name, array)"
            ) from error
        return Tensor.from_request(text_of(name), array, BFLOAT16) if is_bfloat16 else Tensor(name, array)


def find_tensor(tensors: Any, name: str) -> Optional[Tensor]:
    """Return the tensor of that name, or None."""
    name = text_of(name)
    return next((tensor for tensor in tensors if tensor.name() == name), None)
