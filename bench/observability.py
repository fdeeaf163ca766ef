"""What metrics, the access log, traces, keys and TLS cost: a do-nothing module and the classifier, over PaddleHub's protocol and gRPC.

Servers of all variants run side by side, and one at a time is asked: each round asks every one in turn. A ratio is the median of those of
the rounds, each to the bare server in the same round. Servers of the module that does nothing share all cores but the last, which the
client has, so that the processor limits them; those of the classifier may use all cores, so that its instance limits them, as in use. One
request in a hundred is traced; spans go to an endpoint of this script.

Two ratios: of requests in a second, where the server is what limits them, and of the server's processor time for each request. The client
of gRPC is slower than the server, so that only the second says something there.

    python bench/observability.py --rounds 5 --seconds 4
    python bench/observability.py --variants bare,metrics,all --engine ""
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.observed.asking import Seen, Task, tasks
from bench.observed.running import Running, serving
from bench.observed.variants import ALL, BARE, VARIANTS
from bench.peers.options import console, say
from bench.peers.servers.base import MODEL
from bench.stress.otlp_sink import running_sink

#: most that one do-nothing request may cost with everything on, and least that the classifier may keep, to the bare server
MOST_COST, LEAST_KEPT = 1.3, 0.98
#: in titles of the tasks that the first one is for; with more in flight the server computes them together, which makes each cheaper
_ONE = ", 1 in flight"

Rounds = dict[tuple[str, str], list[Seen]]  # title of the task, name of the variant


def main() -> int:
    """Measure and print the table; fails if a promise is missed."""
    parser = argparse.ArgumentParser(
        description="cost of metrics, logs, traces, keys and TLS", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--variants", type=_names, default=",".join(VARIANTS), help=f"which, of {','.join(VARIANTS)}; bare is always measured"
    )
    parser.add_argument("--engine", default="openvino", help='of the classifier; "" to leave it out')
    parser.add_argument("--in-flight", type=_numbers, default="1,8", help="requests in flight to the do-nothing module, each measured")
    parser.add_argument("--classified", type=int, default=4, help="requests in flight to the classifier")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; each asks every server in turn")
    parser.add_argument("--seconds", type=float, default=4, help="length of one measurement")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    names = _runnable(args.variants)
    engine = args.engine
    if engine and not (MODEL / "inference.pdmodel").is_file():
        say(f"The classifier is left out: there is none in {MODEL}; make it with tools/export_model.py, or with make")
        engine = ""
    try:
        measured, seen = measure(args, names, engine)
    except RuntimeError as error:
        say(f"The run failed: {error}")
        return 1
    made = rows(measured)
    broken = broken_promises(made)
    if args.json:
        print(json.dumps({"rounds": args.rounds, "seconds": args.seconds, "rows": made, "seen": seen, "broken": broken}, indent=2))
    else:
        report(args, made, seen, broken)
    return 1 if broken else 0


def _names(text: str) -> list[str]:
    chosen = list(dict.fromkeys([BARE, *(each.strip() for each in text.split(","))]))
    unknown = [each for each in chosen if each not in VARIANTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no variant '{unknown[0]}'; there are {', '.join(VARIANTS)}")
    return chosen


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def _runnable(names: Sequence[str]) -> list[str]:
    """Return the variants whose packages are installed, and print why the others are left out."""
    found = []
    for name in names:
        missing = VARIANTS[name].missing()
        if missing:
            say(f"'{name}' is left out: {', '.join(missing)} is not installed; run: pip install 'hubserve[tracing]'")
        else:
            found.append(name)
    return found


def measure(args: argparse.Namespace, names: list[str], engine: str) -> tuple[Rounds, Counter[str]]:
    """Measure all variants in every round; return the figures, and counts that show that what is measured happens.

    Raises:
        RuntimeError: a server does not start, a request failed, or something that is switched on does nothing.
    """
    measured: Rounds = {}
    cores = sorted(os.sched_getaffinity(0))
    seen: Counter[str] = Counter()
    with ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, set(cores))
        os.sched_setaffinity(0, {cores[-1]})
        sink = stack.enter_context(running_sink()) if any(VARIANTS[name].needs for name in names) else None
        collector = sink.url if sink else ""
        places = [("", set(cores[:-1]) or set(cores)), *([(engine, set(cores))] if engine else [])]
        for served, server_cores in places:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            with serving(names, served, server_cores, collector, folder) as running:  # those that end send the spans that they still have
                seen += _measure(args, running, [task for task in tasks(bool(engine)) if task.is_classifier is bool(served)], measured)
        if sink:
            seen["spans"] = sink.spans()
    for what, count in seen.items():
        if not count:
            raise RuntimeError(f"there are no {what}, so the figures say nothing")
    return measured, seen


def _measure(args: argparse.Namespace, running: list[Running], asked: list[Task], measured: Rounds) -> Counter[str]:
    """Add the figures of some tasks; return the number of lines in the logs."""
    for each in running:
        _check_keys(each)
    for number in range(args.rounds):
        for task in asked:
            for in_flight in [args.classified] if task.is_classifier else args.in_flight:
                title = f"{task.title}, {in_flight} in flight"
                for each in _turned(running, number):
                    say(f"round {number + 1} of {args.rounds}: {title}, {each.name}")
                    measured.setdefault((title, each.name), []).append(task.ask(each, in_flight, args.seconds))
    return Counter({f"lines in the log of '{each.name}'": _lines(each.place.access_log) for each in running if each.name in ("log", ALL)})


def _turned(running: list[Running], by: int) -> Iterable[Running]:
    """Return the servers in another order for each round."""
    by %= len(running)
    return [*running[by:], *running[:by]]


def _check_keys(running: Running) -> None:
    """Check that a server asks for a key where it should.

    Raises:
        RuntimeError: it does not.
    """
    statuses = [running.ask("/v2/models/echo", key)[0] for key in ("", running.key)]
    if statuses != ([401, 200] if running.key else [200, 200]):
        raise RuntimeError(f"'{running.name}' answers HTTP {statuses[0]} without a key, and {statuses[1]} with one")


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def rows(measured: Rounds) -> list[dict[str, Any]]:
    """Return medians of the rounds, and of each round's ratios to the bare server in it."""
    made: list[dict[str, Any]] = []
    for (task, name), rounds in measured.items():
        figures = {field: statistics.median(getattr(seen, field) for seen in rounds) for field in Seen._fields}
        made.append({"task": task, "variant": name, **figures})
        pairs = list(zip(rounds, measured[task, BARE], strict=True))
        made[-1]["kept"] = statistics.median(one.per_s / bare.per_s for one, bare in pairs)
        made[-1]["processor_ratio"] = statistics.median(one.processor_us / bare.processor_us for one, bare in pairs)
    return made


def broken_promises(made: list[dict[str, Any]]) -> list[str]:
    """Return what everything together costs too much of."""
    broken = []
    for row in made:
        if row["variant"] != ALL:
            continue
        if row["task"].startswith("classifier"):
            if row["kept"] < LEAST_KEPT:
                broken.append(f"{row['task']}: {row['kept']:.3f} of the requests/s of the bare server, and {LEAST_KEPT} is promised")
        elif row["task"].endswith(_ONE) and (cost := max(1 / row["kept"], row["processor_ratio"])) > MOST_COST:
            broken.append(f"{row['task']}: {cost:.2f} times the cost on the bare server, and {MOST_COST} is promised")
    return broken


def report(args: argparse.Namespace, made: list[dict[str, Any]], seen: Counter[str], broken: list[str]) -> None:
    """Print the results."""
    table = Table(title=f"Medians of {args.rounds} rounds of {args.seconds:g} s, one instance of each module; ratios to the bare server")
    for column in ("request", "variant", "requests/s", "p50, ms", "p99, ms", "processor us", "requests/s, ratio", "processor, ratio"):
        table.add_column(column, justify="left" if column in ("request", "variant") else "right")
    before = ""
    for row in made:
        if before and row["task"] != before:
            table.add_section()
        figures = (f"{row['per_s']:.0f}", f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}", f"{row['processor_us']:.0f}")
        name = f"{row['variant']} ({VARIANTS[row['variant']].about})"
        table.add_row(row["task"] if row["task"] != before else "", name, *figures, f"{row['kept']:.3f}", f"{row['processor_ratio']:.3f}")
        before = row["task"]
    console().print(table)
    print(", ".join(f"{what}: {count}" for what, count in seen.items()))
    for each in broken:
        print(f"missed: {each}")


if __name__ == "__main__":
    sys.exit(main())
