"""How long work tells whoever watches how far it is."""

from typing import Protocol

#: begins a step that is worth reading after it has passed: a long step, and its size
LASTING = "building "


class Progress(Protocol):
    """Called now and then during long work, from the thread that does it."""

    def __call__(self, step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
        """Report.

        Args:
            step: what is being done, such as ``"copying"``.
            done_bytes: how much of it is done.
            total_bytes: how much there is; 0 where that is not known.
        """


def silent(step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
    """Report to nobody."""
