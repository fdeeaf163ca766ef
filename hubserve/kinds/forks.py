"""Keep processes that a module forks from acting as instances.

A fork inherits the state of its parent. Without care it would ignore the signals that its parent ignores, hold the parent's sockets open,
and answer the parent's requests once it returns from the module's code.
"""

import contextlib
import os
import signal
import sys
import threading
import traceback
from typing import Any, Callable, Dict, Optional, Set

#: signals that a terminal or an init system sends to a process group, and their default handlers
_DEFAULTS: Dict[int, Any] = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
_is_fork = False
_blocked = threading.local()


def ignore_signals() -> None:
    """Keep this process alive at signals to its process group, but not the programs that it starts.

    This needs a handler that does nothing: a started program inherits ignored signals, but not handlers.
    """
    for number in _DEFAULTS:
        signal.signal(number, _ignore)
        signal.siginterrupt(number, False)


def _ignore(*_: Any) -> None:
    """Do nothing: the gateway decides when an instance ends, even if a terminal or an init system signals the process group."""


def prepare_forks(forget: Callable[[], None]) -> None:
    """Restore the default signals in processes that are forked from now on.

    Args:
        forget: called in each of them, to close the instance's own resources.
    """

    def begin() -> None:
        global _is_fork  # noqa: PLW0603 - a property of the process
        _is_fork = True
        try:
            forget()
        finally:
            _restore_signals()

    os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=begin)


def _block() -> None:
    """Block signals until the fork has its default handlers."""
    _blocked.before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFAULTS)


def _unblock() -> None:
    before: Optional[Set[Any]] = getattr(_blocked, "before", None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _restore_signals() -> None:
    for number, default in _DEFAULTS.items():
        if signal.getsignal(number) is _ignore:  # the module may have installed another one
            signal.signal(number, default)
    _unblock()


def leave_if_forked(error: Optional[BaseException] = None) -> None:
    """End this process if it is a fork that has left the module's code; it must not act as a second instance.

    Args:
        error: the exception that left the code; None if the code returned.
    """
    if not _is_fork:
        return
    status = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        traceback.print_exception(type(error), error, error.__traceback__)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the module may have closed it
            stream.flush()
    os._exit(status & 0xFF)
