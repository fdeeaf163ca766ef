"""Progress callbacks of long operations."""

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
