"""The lock that serialises installs and uninstalls in one home, across processes."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hubserve.errors import InstallError
from hubserve.registry.progress import Progress, silent

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK_NAME = ".hubserve.lock"


@contextmanager
def store_lock(folder: Path, timeout_s: float, progress: Progress = silent) -> Iterator[None]:
    """Hold the lock of a folder in the home. The system releases it when the process ends, however it ends.

    Args:
        folder: such as the folder of installed modules; created if it is missing.
        timeout_s: how long to wait for another process.
        progress: called if there is a wait.
    Raises:
        InstallError: the other process did not finish in time.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress("waiting for another install or uninstall to finish")
        _wait(lock, timeout_s)
    try:
        yield
    finally:
        with suppress(OSError):  # the work is done, and the system releases the lock at the latest when the process ends
            lock.release()


def _wait(lock: "BaseFileLock", timeout_s: float) -> None:
    from filelock import Timeout

    try:
        lock.acquire(timeout=timeout_s, poll_interval=0.05)
    except Timeout:
        raise InstallError(
            f"another hub process has been installing or removing for more than {timeout_s:g} s. Wait for it or stop it, then try again; "
            "hub config install.lock_timeout_s==SECONDS waits longer."
        ) from None
