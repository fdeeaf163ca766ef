"""What a tensor costs: models of Triton's Python backend that return their input, and what other servers have instead.

hubserve and Triton serve the very same model repository, and are asked by the same binary requests of the v2 protocol; MLServer is asked
by the protocol's JSON, and mosec by its own. Each round starts the servers one after the other, and medians of the rounds are compared.

    python bench/peers/tensors.py --peers hubserve-v2,triton,mlserver,mosec --bytes 64 --connections 32
    python bench/peers/tensors.py --peers hubserve-v2,triton --bytes 602112 --connections 8,32
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.peers import wrk
from bench.peers.exchange import Measured
from bench.peers.failures import WrongAnswer
from bench.peers.options import console, counts, make_peers, parser, say
from bench.peers.rounds import Rounds, measure, rows, table
from bench.peers.running import Server
from bench.peers.servers.base import Launch, Peer


def main() -> int:
    """Measure and print the tables."""
    options = parser("requests/s and latency of models that return their tensor", "hubserve-v2,triton,mlserver,mosec", 4)
    options.add_argument("--connections", type=counts, default="1,8,32", help="requests in flight, each in turn")
    options.add_argument("--bytes", type=counts, default="64", help="the tensor's size; several are measured in turn")
    args = options.parse_args()
    not_run: dict[str, str] = {}
    results: dict[int, Rounds] = {}
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for size in args.bytes:
                peers = make_peers(args.peers, args.cache, not_run)
                results[size] = measure_size(args, peers, size, Path(scratch), not_run)
    except WrongAnswer as error:
        say(f"The run failed: {error}")
        return 1
    report(args, results, not_run)
    return 0 if all(results.values()) else 1


def measure_size(args: argparse.Namespace, peers: list[Peer], size: int, scratch: Path, not_run: dict[str, str]) -> Rounds:
    """Run closed loops with tensors of ``size`` bytes."""

    def prepare(peer: Peer, port: int, folder: Path) -> Launch:
        return peer.tensors(size, args.workers, port, folder)

    def every(server: Server) -> list[tuple[int, Measured]]:
        return [(count, server.closed_loop(count, args.seconds)) for count in args.connections]

    return measure(args, peers, f"{size} bytes", prepare, every, scratch, not_run)


def report(args: argparse.Namespace, results: dict[int, Rounds], not_run: dict[str, str]) -> None:
    """Print what was measured."""
    client = "wrk" if wrk.available() else "asyncio"
    if args.json:
        about = {"client": client, "workers": args.workers, "rounds": args.rounds, "seconds": args.seconds}
        print(json.dumps({**about, "bytes": {size: rows(seen) for size, seen in results.items()}, "not_run": not_run}, indent=2))
        return
    how = f"{args.workers} workers each, medians of {args.rounds} rounds of {args.seconds:g} s"
    for size, seen in results.items():
        console().print(table(f"A tensor of {size} bytes there and back, closed loop ({client}), {how}", rows(seen)))
    for title, reason in not_run.items():
        print(f"{title} could not be run: {reason}")


if __name__ == "__main__":
    sys.exit(main())
