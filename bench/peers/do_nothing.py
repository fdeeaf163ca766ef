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
from pathlib import Path

from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.peers import wrk
from bench.peers.exchange import Measured
from bench.peers.failures import WrongAnswer
from bench.peers.options import console, counts, make_peers, parser, say
from bench.peers.rounds import Rounds, measure, rows, table
from bench.peers.running import Server
from bench.peers.servers.base import Launch, Peer

HALF_LOAD_CONNECTIONS = 8


def main() -> int:
    """Measure and print the tables."""
    options = parser("requests/s and latency of do-nothing modules", "hubserve,mosec,mosec-batching,triton", 4)
    options.add_argument("--connections", type=counts, default="1,8,32", help="requests in flight, each in turn")
    args = options.parse_args()
    not_run: dict[str, str] = {}
    peers = make_peers(args.peers, args.cache, not_run)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            closed, half = measure_both(args, peers, Path(scratch), not_run)
    except WrongAnswer as error:
        say(f"The run failed: {error}")
        return 1
    report(args, closed, half, not_run)
    return 0 if closed else 1


def measure_both(args: argparse.Namespace, peers: list[Peer], scratch: Path, not_run: dict[str, str]) -> tuple[Rounds, Rounds]:
    """Run closed loops at every number of connections, then open ones at half the load of the slowest."""
    # half load is a share of what is answered at eight connections, so that is measured in any case
    connections = sorted({*args.connections, HALF_LOAD_CONNECTIONS})

    def prepare(peer: Peer, port: int, folder: Path) -> Launch:
        return peer.do_nothing(args.workers, port, folder)

    def every(server: Server) -> list[tuple[int, Measured]]:
        return [(count, server.closed_loop(count, args.seconds)) for count in connections]

    closed = measure(args, peers, "closed loop", prepare, every, scratch, not_run)
    if not peers:
        return closed, {}
    slowest = min(statistics.median(each.per_second for each in closed[peer.title, HALF_LOAD_CONNECTIONS]) for peer in peers)

    def at_half(server: Server) -> list[tuple[int, Measured]]:
        return [(HALF_LOAD_CONNECTIONS, server.open_loop(HALF_LOAD_CONNECTIONS, args.seconds, slowest / 2))]

    return closed, measure(args, peers, f"half load ({slowest / 2:.0f} requests/s)", prepare, at_half, scratch, not_run)


def report(args: argparse.Namespace, closed: Rounds, half: Rounds, not_run: dict[str, str]) -> None:
    """Print the results."""
    client = "wrk" if wrk.available() else "asyncio"
    shown = [row for row in rows(closed) if row["connections"] in args.connections]
    at_half = rows(half)
    if args.json:
        about = {"client": client, "workers": args.workers, "rounds": args.rounds, "seconds": args.seconds}
        print(json.dumps({**about, "closed_loop": shown, "half_load": at_half, "not_run": not_run}, indent=2))
        return
    how = f"{args.workers} workers each, medians of {args.rounds} rounds of {args.seconds:g} s"
    console().print(table(f"Do-nothing module, 16 floats as JSON, closed loop ({client}), {how}", shown))
    halves = Table(title=f"Half the slowest one's load, open loop (asyncio), {HALF_LOAD_CONNECTIONS} connections, {how}")
    for column in ("server", "requests/s", "p50, ms", "p99, ms", "hubserve's p99 to its"):
        halves.add_column(column, justify="left" if column == "server" else "right")
    for row in at_half:
        ratio = f"{row['hubserve_p99_ratio']:.2f}" if "hubserve_p99_ratio" in row else ""
        halves.add_row(row["server"], f"{row['requests_per_s']:.0f}", f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}", ratio)
    console().print(halves)
    for title, reason in not_run.items():
        print(f"{title} could not be run: {reason}")


if __name__ == "__main__":
    sys.exit(main())
