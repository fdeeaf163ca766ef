"""Items per second of every engine on a model, on this machine, and what ``engine: auto`` makes of it.

Each engine runs alone in a process of its own, as ``auto`` measures it, on a made-up batch; its answers are compared with the reference's.
What ``auto`` remembers is neither used nor changed.

    python bench/engines.py --model inference/ --threads 1
"""

import argparse
import sys
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from hubserve.engines import EngineOptions, find_model_files
from hubserve.engines.selection import check, installed_readers
from hubserve.engines.selection_cache import Verdict
from hubserve.errors import HubError

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="items/s of every engine that reads a model, and auto's choice")
    parser.add_argument("--model", type=Path, default=ROOT / "inference", help="the model's folder, or an .onnx file (default inference/)")
    parser.add_argument("--threads", type=int, default=1, help="threads for one call (default %(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="the largest batch, at most 8 (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of all engines; medians are shown (default %(default)s)")
    parser.add_argument("--no-mkldnn", action="store_true", help="run Paddle without oneDNN")
    args = parser.parse_args()
    options = EngineOptions(cpu_num_threads=args.threads, max_batch_size=args.batch_size, enable_mkldnn=not args.no_mkldnn)
    try:
        files = find_model_files(args.model.parent, args.model.name) if args.model.is_file() else find_model_files(args.model)
        engines = installed_readers(files.graph)
        verdicts = [check(files, options, engines) for _ in range(args.rounds)]
    except HubError as error:
        print(f"cannot measure '{args.model}': {error.message}", file=sys.stderr)
        return 1
    if not verdicts[-1].measured:
        print(verdicts[-1].reason)
        return 0
    report(verdicts, f"{args.model}, {args.threads} thread{'' if args.threads == 1 else 's'}, items/s")
    return 0


def report(verdicts: list[Verdict], title: str) -> None:
    """Print one row per engine, then each round's choice."""
    rounds: list[dict[str, Any]] = [verdict.measured["engines"] for verdict in verdicts if verdict.measured]
    sizes = sorted({int(size) for engines in rounds for each in engines.values() for size in each["ms_per_item"]})
    table = Table(title=title)
    table.add_column("engine", no_wrap=True)
    for heading in (*(f"batch of {size}" for size in sizes), "differs by"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("left out because")
    for engine, last in rounds[-1].items():
        cells = [items_per_second([engines[engine]["ms_per_item"].get(str(size)) for engines in rounds]) for size in sizes]
        difference = last.get("difference")
        table.add_row(engine, *cells, "" if difference is None else f"{difference:.1e}", last.get("left_out", ""))
    console = Console()
    console.print(table)
    for verdict in verdicts:
        console.print(verdict.reason, highlight=False, markup=False)


def items_per_second(ms_per_item: list[float | None]) -> str:
    """Return the median of the rounds, or "-" if there are none."""
    known = [ms for ms in ms_per_item if ms]
    return f"{1000 / median(known):.1f}" if known else "-"


if __name__ == "__main__":
    sys.exit(main())
