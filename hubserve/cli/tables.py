"""Tables for people: styled and folded to its width on a terminal, plain text with one line per row elsewhere."""

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
        cut: the column that is cut where the table would be too wide; without one, columns are folded on a terminal.
        numbers: whether the cells are numbers, which are read best from the right.
    """
    from rich.cells import cell_len
    from rich.table import Table

    cells = [[printable(each) for each in row] for row in rows]
    columns = [*zip(titles, *cells, strict=True)]
    widths = [max(map(cell_len, column)) for column in columns]
    excess = sum(widths) + _GAP * (len(widths) - 1) - _console().width
    if cut:
        index = titles.index(cut)
        widths[index] = min(widths[index], max(_NARROWEST, widths[index] - max(0, excess)))
    elif sys.stdout.isatty():
        _fold(widths, [_word_width(column) for column in columns], excess)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for title, width in zip(titles, widths, strict=True):
        table.add_column(
            title,
            width=width,
            justify="right" if numbers else "left",
            no_wrap=title == cut,
            overflow="ellipsis" if title == cut else "fold",
        )
    for row in cells:
        table.add_row(*map(_text, row))
    _print(table, sum(widths) + _GAP * len(widths))


def _fold(widths: list[int], narrowest: list[int], excess: int) -> None:
    """Narrow the widest columns by the excess, as far as their words allow."""
    for _ in range(excess):
        index = max(range(len(widths)), key=lambda each: widths[each] if widths[each] > narrowest[each] else 0)
        widths[index] -= widths[index] > narrowest[index]


def print_facts(facts: dict[str, str]) -> None:
    """Print one fact per line; omit empty ones, fold long ones on a terminal."""
    from rich.cells import cell_len
    from rich.table import Table

    shown = {title: printable(value) for title, value in facts.items() if value}
    table = Table.grid(padding=(0, _GAP, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, value in shown.items():
        table.add_row(title, _text(value))
    _print(table, sum(max(map(cell_len, side), default=0) + _GAP for side in (shown.keys(), shown.values())))


def printable(value: str) -> str:
    """Return a module's text without terminal control characters."""
    return "".join(each if each.isprintable() else " " for each in value)


def _text(value: str) -> Any:
    from rich.text import Text

    return Text(value)  # plain text would be read as markup


def _word_width(texts: Iterable[str]) -> int:
    """Return the width of the longest word."""
    from rich.cells import cell_len

    return max((cell_len(word) for text in texts for word in text.split()), default=0)


def _console(width: int | None = None) -> Any:
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, width=width)


def _print(table: Any, needed_width: int) -> None:
    """Print a table.

    Args:
        table: Rich's.
        needed_width: the width at which no line is folded.
    """
    console = _console()
    if console.is_terminal:
        console.print(table)
        return
    # Rich pads every line to the edge, which helps no program that reads them.
    console = _console(max(console.width, needed_width))
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))
