"""What a request costs: modules that return 16 floats as they came, JSON both ways, the same client and cores for every server.

Each round starts the servers one after the other, and medians of the rounds are compared. At the end requests come at random moments, at
half the rate that the slowest server answered at eight connections, and the 99th percentile of their latency is compared.

    python bench/peers/do_nothing.py --peers hubserve,mosec,triton --connections 1,8,32
"""

import argparse
import json
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.peers import wrk
from bench.peers.exchange import Measured
from bench.peers.failures import CannotRun, WrongAnswer
from bench.peers.options import cannot_run, console, counts, make_peers, parser, say
from bench.peers.running import serving
from bench.peers.servers.base import Peer

WARM_UP_S = 1.0
HALF_LOAD_CONNECTIONS = 8
OURS = "hubserve"

Rounds = dict[tuple[str, int], list[Measured]]


def main() -> int:
    """Measure and print the tables."""
    options = parser("requests/s and latency of do-nothing modules", "hubserve,mosec,mosec-batching,triton", 4)
    options.add_argument("--connections", type=counts, default="1,8,32", help="requests in flight, each in turn")
    args = options.parse_args()
    not_run: dict[str, str] = {}
    peers = make_peers(args.peers, args.cache, not_run)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            closed = measure_closed(args, peers, Path(scratch), not_run)
            half = measure_half_load(args, peers, closed, Path(scratch), not_run)
    except WrongAnswer as error:
        say(f"The run failed: {error}")
        return 1
    report(args, closed, half, not_run)
    return 0 if closed else 1


def measure_closed(args: argparse.Namespace, peers: list[Peer], scratch: Path, not_run: dict[str, str]) -> Rounds:
    """Closed loops: every peer at every number of connections, in every round; what cannot run is dropped from ``peers``."""
    measured: Rounds = {}
    # half load is a share of what is answered at eight connections, so that is measured in any case
    connections = sorted({*args.connections, HALF_LOAD_CONNECTIONS})
    for number in range(args.rounds):
        for peer in list(peers):
            say(f"round {number + 1} of {args.rounds}: {peer.title}")
            try:
                with serving(peer.title, partial(peer.do_nothing, args.workers), scratch) as server:
                    server.closed_loop(HALF_LOAD_CONNECTIONS, WARM_UP_S)
                    for count in connections:
                        measured.setdefault((peer.title, count), []).append(server.closed_loop(count, args.seconds))
            except CannotRun as error:
                cannot_run(peer.title, error, not_run)
                peers.remove(peer)
    return measured


def measure_half_load(args: argparse.Namespace, peers: list[Peer], closed: Rounds, scratch: Path, not_run: dict[str, str]) -> Rounds:
    """Open loops at half of what the slowest one can."""
    if not peers:
        return {}
    slowest = min(statistics.median(each.per_second for each in closed[peer.title, HALF_LOAD_CONNECTIONS]) for peer in peers)
    measured: Rounds = {}
    for number in range(args.rounds):
        for peer in list(peers):
            say(f"half load ({slowest / 2:.0f} requests/s), round {number + 1} of {args.rounds}: {peer.title}")
            try:
                with serving(peer.title, partial(peer.do_nothing, args.workers), scratch) as server:
                    server.closed_loop(HALF_LOAD_CONNECTIONS, WARM_UP_S)
                    seen = server.open_loop(HALF_LOAD_CONNECTIONS, args.seconds, slowest / 2)
                    measured.setdefault((peer.title, HALF_LOAD_CONNECTIONS), []).append(seen)
            except CannotRun as error:
                cannot_run(peer.title, error, not_run)
                peers.remove(peer)
    return measured


def rows(measured: Rounds) -> list[dict[str, Any]]:
    """Medians of the rounds, and hubserve's against each other one's at the same number of connections."""
    made: list[dict[str, Any]] = [
        {
            "server": title,
            "connections": connections,
            "requests_per_s": statistics.median(each.per_second for each in rounds),
            "p50_ms": statistics.median(each.p50_ms for each in rounds),
            "p99_ms": statistics.median(each.p99_ms for each in rounds),
        }
        for (title, connections), rounds in sorted(measured.items(), key=lambda item: item[0][1])
    ]
    ours = {row["connections"]: row for row in made if row["server"] == OURS}
    for row in made:
        if row["connections"] in ours and row["server"] != OURS:
            row["hubserve_requests_ratio"] = ours[row["connections"]]["requests_per_s"] / row["requests_per_s"]
            row["hubserve_p99_ratio"] = ours[row["connections"]]["p99_ms"] / row["p99_ms"]
    return made


def report(args: argparse.Namespace, closed: Rounds, half: Rounds, not_run: dict[str, str]) -> None:
    """Print what was measured."""
    client = "wrk" if wrk.available() else "asyncio"
    shown = [row for row in rows(closed) if row["connections"] in args.connections]
    at_half = rows(half)
    if args.json:
        about = {"client": client, "workers": args.workers, "rounds": args.rounds, "seconds": args.seconds}
        print(json.dumps({**about, "closed_loop": shown, "half_load": at_half, "not_run": not_run}, indent=2))
        return
    how = f"{args.workers} workers each, medians of {args.rounds} rounds of {args.seconds:g} s"
    table = Table(title=f"Do-nothing module, 16 floats as JSON, closed loop ({client}), {how}")
    for column in ("connections", "server", "requests/s", "p50, ms", "p99, ms", "hubserve's requests/s to its"):
        table.add_column(column, justify="left" if column == "server" else "right")
    for row in shown:
        ratio = f"{row['hubserve_requests_ratio']:.2f}" if "hubserve_requests_ratio" in row else ""
        figures = (f"{row['requests_per_s']:.0f}", f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}")
        table.add_row(str(row["connections"]), row["server"], *figures, ratio)
    console().print(table)
    table = Table(title=f"Half the slowest one's load, open loop (asyncio), {HALF_LOAD_CONNECTIONS} connections, {how}")
    for column in ("server", "requests/s", "p50, ms", "p99, ms", "hubserve's p99 to its"):
        table.add_column(column, justify="left" if column == "server" else "right")
    for row in at_half:
        ratio = f"{row['hubserve_p99_ratio']:.2f}" if "hubserve_p99_ratio" in row else ""
        table.add_row(row["server"], f"{row['requests_per_s']:.0f}", f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}", ratio)
    console().print(table)
    for title, reason in not_run.items():
        print(f"{title} could not be run: {reason}")


if __name__ == "__main__":
    sys.exit(main())
