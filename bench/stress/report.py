"""Report of measured figures and of the promises that they are compared with."""

import json
import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

#: of what is printed to a file or a pipe
_WIDTH = 160


class Promise(NamedTuple):
    """Statement that must hold.

    Attributes:
        text: what is promised.
        found: what was measured.
        held: whether it holds; None if this run was too short, or had too much switched off, to decide.
    """

    text: str
    found: str
    held: bool | None


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that ``percent`` of all values do not exceed; NaN without values."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def growth_promise(what: str, first_mb: Sequence[float], last_mb: Sequence[float], limit: float = 0.05, judged: bool = True) -> Promise:
    """Return the promise that memory does not grow: the medians of two stretches of samples are compared."""
    text = f"{what}: resident memory grows by no more than {limit:.0%}"
    if not first_mb or not last_mb or min(*first_mb, *last_mb) <= 0:
        return Promise(text, "too few samples", None if not judged else False)
    before, after = statistics.median(first_mb), statistics.median(last_mb)
    growth = after / before - 1
    found = f"{before:.1f} MB -> {after:.1f} MB ({growth:+.1%})"
    return Promise(text, found if judged else f"{found}; too short a run to judge", growth <= limit if judged else None)


def print_report(title: str, rows: Sequence[dict[str, Any]], promises: Sequence[Promise], details: dict[str, Any], *, as_json: bool) -> int:
    """Print the results.

    Args:
        title: the table's.
        rows: column -> value; all rows have the first one's columns.
        promises: what must hold.
        details: further figures, which only JSON shows, but for ``failures``, which are always printed.
        as_json: JSON instead of tables.
    Returns:
        The exit status: 1 if a promise does not hold.
    """
    if as_json:
        kept = [{"text": each.text, "found": each.found, "held": each.held} for each in promises]
        print(json.dumps({"title": title, "rows": rows, "promises": kept, **details}, indent=2, default=str))
    else:
        _print_tables(title, rows, promises)
        for failure in details.get("failures", ()):
            print("failed:", json.dumps(failure, default=str))
    return 1 if any(each.held is False for each in promises) else 0


def _print_tables(title: str, rows: Sequence[dict[str, Any]], promises: Sequence[Promise]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    figures = Table(*rows[0], title=title)
    for row in rows:
        figures.add_row(*(f"{value:.1f}" if isinstance(value, float) else str(value) for value in row.values()))
    console.print(figures)
    kept = Table("promise", "found", "holds")
    for each in promises:
        kept.add_row(each.text, each.found, {True: "[green]yes", False: "[bold red]NO", None: "not judged"}[each.held])
    console.print(kept)
