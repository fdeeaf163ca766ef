"""Progress of long operations, shown on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from hubserve.cli.output import size_text
from hubserve.registry.progress import LASTING, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Show a bar on a terminal, which disappears at the end; elsewhere one line per step."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    columns = (
        SpinnerColumn(),
        # a tool's output may be longer than a line
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Bar(bars)


@contextmanager
def shown_when_used() -> Iterator[Progress]:
    """Show progress as :func:`shown_progress` does, from the first report on."""
    with ExitStack() as stack:
        opened: list[Progress] = []

        def report(step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
            if not opened:
                opened.append(stack.enter_context(shown_progress()))
            opened[0](step, done_bytes, total_bytes)

        yield report


@contextmanager
def shown_steps() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar that follows the reported step, its number and the total; without a terminal, one line per step.

    Nothing is drawn between two calls, so that drawing does not disturb measurements.
    """
    if not sys.stderr.isatty():
        yield lambda step, done, total: print(f"{done + 1}/{total} {step} ...", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bars:
        task = bars.add_task("starting", total=None)

        def show(step: str, done: int, total: int) -> None:
            bars.update(task, description=step, completed=done, total=total)
            bars.refresh()

        yield show


class _Bar:
    def __init__(self, bars: "Bars") -> None:
        self._bars = bars
        self._step, self._task = "", bars.add_task("starting", total=None, amount="")

    def __call__(self, step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
        total = total_bytes or None
        if step != self._step:  # a new bar, because an existing one keeps its total
            self._bars.remove_task(self._task)
            self._step, self._task = step, self._bars.add_task(step, total=total, amount="")
            if step.startswith(LASTING):
                self._bars.console.print(step, highlight=False, markup=False)
        if total:
            self._bars.update(self._task, completed=done_bytes, total=total, amount=f"{size_text(done_bytes)} of {size_text(total_bytes)}")


class _Lines:
    def __init__(self) -> None:
        self._last = ""

    def __call__(self, step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:  # noqa: ARG002 - the signature of Progress
        if step != self._last:
            self._last = step
            print(f"{step} ...", file=sys.stderr, flush=True)
