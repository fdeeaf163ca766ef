"""Tune memory management for the large buffers of requests, in the gateway and in instances."""

import ctypes
import gc

# glibc's names and numbers, from malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_MMAP_THRESHOLD_BYTES = 32 << 20
_KEPT_BYTES = 64 << 20


def keep_large_buffers() -> None:
    """Reuse freed buffers of up to 32 MiB, keeping at most 64 MiB of them, instead of mapping new pages for each request.

    Fresh pages cost a fault for every 4 KiB: in the gateway, with batches of eight images, that took as long as all other work on a
    request together; in an instance, as long as decoding and preparing a picture.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def freeze_gc() -> None:
    """Exempt all present objects from garbage collection, which would traverse them repeatedly for tens of ms."""
    gc.collect()
    gc.freeze()


def trim_heap() -> None:
    """Return freed memory to the system."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # not glibc
        return
