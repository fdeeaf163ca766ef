"""Tables for people: styled on a terminal, plain text elsewhere, never wider than the terminal or 80 columns."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

_GAP = 2
_NARROWEST = 10


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]], *, cut: str = "", numbers: bool = False) -> None:
    """Print rows under titles.

    Args:
        titles: one per column.
        rows: one text per column.
        cut: the column that is cut where the table would be too wide; without one, the widest is folded.
        numbers: whether the cells are numbers, which are read best from the right.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    cells = [[printable(each) for each in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(titles, *cells, strict=True)]
    gives_way = titles.index(cut) if cut else widths.index(max(widths))
    room = Console(file=sys.stdout).width - sum(widths) - _GAP * (len(widths) - 1)
    widths[gives_way] = min(widths[gives_way], max(_NARROWEST, widths[gives_way] + room))
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for index, (title, width) in enumerate(zip(titles, widths, strict=True)):
        is_cut = bool(cut) and index == gives_way
        table.add_column(
            title, width=width, justify="right" if numbers else "left", no_wrap=is_cut, overflow="ellipsis" if is_cut else "fold"
        )
    for row in cells:
        table.add_row(*map(_text, row))
    _print(table)


def print_facts(facts: dict[str, str]) -> None:
    """Print one fact per line; omit empty ones, fold long ones."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, value in facts.items():
        if value:
            table.add_row(title, _text(printable(value)))
    _print(table)


def printable(value: str) -> str:
    """Return a module's text without terminal control characters."""
    return "".join(each if each.isprintable() else " " for each in value)


def _text(value: str) -> Any:
    from rich.text import Text

    return Text(value)  # plain text would be read as markup


def _print(table: Any) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    if console.is_terminal:
        console.print(table)
        return
    # Rich pads every line to the edge, which helps no program that reads them.
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))
