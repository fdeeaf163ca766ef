"""Closed loops of every server in every round, and medians of the rounds."""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.peers.exchange import Measured
from bench.peers.failures import CannotRun
from bench.peers.options import cannot_run, say
from bench.peers.running import Server, serving
from bench.peers.servers.base import Launch, Peer

WARM_UP_S = 1.0
OURS = "hubserve"

#: (server, connections) -> what was seen in each round
Rounds = dict[tuple[str, int], list[Measured]]
#: given a peer, a port and an empty folder, says what to start
Prepare = Callable[[Peer, int, Path], Launch]
#: given a server, measures it; gives the number of connections, too
Measure = Callable[[Server], list[tuple[int, Measured]]]


def measure(
    args: argparse.Namespace, peers: list[Peer], what: str, prepare: Prepare, load: Measure, scratch: Path, not_run: dict[str, str]
) -> Rounds:
    """Start every peer in every round and put a load on it; what cannot run is dropped from ``peers``.

    Raises:
        WrongAnswer: an answer was wrong, or a request lost.
    """
    measured: Rounds = {}
    for number in range(args.rounds):
        for peer in list(peers):
            say(f"{what}, round {number + 1} of {args.rounds}: {peer.title}")
            try:
                with serving(peer.title, partial(prepare, peer), scratch) as server:
                    server.closed_loop(8, WARM_UP_S)
                    for connections, seen in load(server):
                        measured.setdefault((peer.title, connections), []).append(seen)
            except CannotRun as error:
                cannot_run(peer.title, error, not_run)
                peers.remove(peer)
    return measured


def rows(measured: Rounds) -> list[dict[str, Any]]:
    """Return medians of the rounds, and hubserve's compared with each other server's at the same number of connections."""
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


def table(title: str, shown: list[dict[str, Any]]) -> Table:
    """Return the rows as a table for the terminal."""
    made = Table(title=title)
    for column in ("connections", "server", "requests/s", "p50, ms", "p99, ms", "hubserve's requests/s to its"):
        made.add_column(column, justify="left" if column == "server" else "right")
    for row in shown:
        ratio = f"{row['hubserve_requests_ratio']:.2f}" if "hubserve_requests_ratio" in row else ""
        figures = (f"{row['requests_per_s']:.0f}", f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}")
        made.add_row(str(row["connections"]), row["server"], *figures, ratio)
    return made
