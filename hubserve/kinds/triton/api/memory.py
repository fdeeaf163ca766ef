"""Kinds of memory for tensors."""

from enum import IntEnum


class MemoryType(IntEnum):
    """Kinds of memory; outputs of other models are always in the CPU's."""

    TRITONSERVER_MEMORY_GPU = 0
    TRITONSERVER_MEMORY_CPU = 1


TRITONSERVER_MEMORY_GPU = MemoryType.TRITONSERVER_MEMORY_GPU
TRITONSERVER_MEMORY_CPU = MemoryType.TRITONSERVER_MEMORY_CPU
#: not in Triton's interface; kept for models that were written for an earlier hubserve
TRITONSERVER_MEMORY_CPU_PINNED = TRITONSERVER_MEMORY_CPU


class PreferredMemory:
    """The memory in which a model prefers another model's outputs; they are always in the CPU's memory.

    Args:
        preferred_memory_type: a constant TRITONSERVER_MEMORY_*.
        preferred_device_id: the device's number.
    """

    def __init__(self, preferred_memory_type: int, preferred_device_id: int = 0) -> None:
        self.preferred_memory_type = preferred_memory_type
        self.preferred_device_id = preferred_device_id
