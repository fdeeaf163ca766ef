"""Progress callbacks of long operations."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

#: prefix of a step that stays on the screen after it has passed: a long step, and its size
LASTING = "building "


class Progress(Protocol):
    """Callback of a long operation, called now and then from the thread that does the work."""

    def __call__(self, step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
        """Report a step.

        Args:
            step: what is being done, such as ``"copying"``.
            done_bytes: how much of it is done.
            total_bytes: how much there is; 0 if unknown.
        """


def silent(step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
    """Ignore the report."""


_of_command: ContextVar[Progress] = ContextVar("progress", default=silent)


def shown_by_command() -> Progress:
    """Return the callback by which the running command shows progress; :func:`silent` outside of :func:`showing`."""
    return _of_command.get()


@contextmanager
def showing(progress: Progress) -> Iterator[None]:
    """Show the progress of what runs in the context by a callback."""
    token = _of_command.set(progress)
    try:
        yield
    finally:
        _of_command.reset(token)
