"""Import the engines' packages lazily, quietly, and without their side effects on the process."""

import faulthandler
import signal
import threading
import warnings
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, Iterator

from hubserve.errors import MissingDependency


def import_package(name: str, needed_by: str, install: str) -> ModuleType:
    """Import a package that an engine needs.

    Args:
        name: what is imported, such as ``"openvino"``.
        needed_by: who needs it, for the message.
        install: the command that provides it, for the message.
    Raises:
        MissingDependency: it is not installed, or its import fails.
    """
    try:
        return import_module(name)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]:
            raise MissingDependency(f"{needed_by} needs the package '{error.name}', which is not installed here. {install}") from error
        raise MissingDependency(
            f"{needed_by} needs the package '{name}', which is installed but cannot be imported: {error}. {install}", detail=repr(error)
        ) from error


def import_paddle(needed_by: str = "the paddle engine") -> Any:
    """Import ``paddle`` with its ``inference`` package, and keep this process's signal handlers.

    Raises:
        MissingDependency: it is not installed, or its import fails.
    """
    with warnings.catch_warnings(), _signals_kept():
        # Paddle looks for a C++ compiler cache at every import; nothing is compiled here.
        warnings.filterwarnings("ignore", message="No ccache found", category=UserWarning)
        paddle: Any = import_package("paddle", needed_by, "Install it with: pip install paddlepaddle (or: pip install 'hubserve[cpu]').")
        import_package("paddle.inference", needed_by, "Reinstall it with: pip install --force-reinstall paddlepaddle")
        paddle.disable_signal_handler()
    return paddle


_PADDLE_SIGNALS = (signal.SIGSEGV, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGTERM)


@contextmanager
def _signals_kept() -> Iterator[None]:
    # Importing Paddle replaces the handlers of these signals in C, so that a handled or ignored SIGTERM would end the process.
    before = {each: signal.getsignal(each) for each in _PADDLE_SIGNALS}
    had_faulthandler = faulthandler.is_enabled()
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            for each, handler in before.items():
                if handler is not None:
                    signal.signal(each, handler)
        if had_faulthandler:
            faulthandler.disable()
            faulthandler.enable(file=2)
