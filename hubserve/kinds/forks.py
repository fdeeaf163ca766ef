"""Make processes that a module forks begin as any process does; they are not instances.

A fork has everything of its parent. Without care it would ignore the signals that its parent ignores, hold the parent's sockets open, and
answer the parent's requests once it comes out of the module's code.
"""

import contextlib
import os
import signal
import sys
import threading
import traceback
from typing import Any, Callable, Dict, Optional, Set

#: signals that a terminal or an init system sends to a whole process group, and what a process does by default
_DEFAULTS: Dict[int, Any] = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
_is_fork = False
_blocked = threading.local()


def ignore_signals() -> None:
    """Have this process go on at signals to its process group, and those that it starts end at them.

    By a handler that does nothing, because a program that is started inherits what is ignored, but no handlers.
    """
    for number in _DEFAULTS:
        signal.signal(number, _go_on)
        signal.siginterrupt(number, False)


def _go_on(*_: Any) -> None:
    """Ignore a signal: the gateway decides when an instance ends, even if a terminal or an init system signals the whole process group."""


def prepare_forks(forget: Callable[[], None]) -> None:
    """Have processes that are forked from now on begin with default signals.

    Args:
        forget: called in each of them, to close what belongs to the instance alone.
    """

    def begin() -> None:
        global _is_fork  # noqa: PLW0603 - it is of the process, as that is
        _is_fork = True
        try:
            forget()
        finally:
            _restore_signals()

    os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=begin)


def _block() -> None:
    """Block signals, so that one that comes early is delivered only once the fork has its default handlers."""
    _blocked.before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFAULTS)


def _unblock() -> None:
    before: Optional[Set[Any]] = getattr(_blocked, "before", None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _restore_signals() -> None:
    for number, default in _DEFAULTS.items():
        if signal.getsignal(number) is _go_on:  # the module may have installed another one
            signal.signal(number, default)
    _unblock()


def leave_if_forked(error: Optional[BaseException] = None) -> None:
    """End this process if it is a fork that has come out of the module's code; it must not go on as a second instance.

    Args:
        error: the exception that it came out by; None if the code returned.
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
