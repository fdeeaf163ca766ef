"""Ties an instance's life to that of the process that started it."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, even while native code computes and never reads the socket."""
    parent = os.getppid()
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (OSError, AttributeError):  # not Linux: the closed socket still ends an instance between two calls
        return
    if os.getppid() != parent:  # it ended before the request was in force
        os.kill(os.getpid(), signal.SIGKILL)
