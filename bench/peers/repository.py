"""Compare Triton and hubserve serving one unchanged repository: the default classifier as a model of Triton's Python backend.

Both get the same binary requests of one image. Each round starts the servers one after the other, and medians of the rounds are
compared: requests/s are images/s.

    python bench/peers/repository.py --engines paddle,openvino --connections 8,32 --delay-us 2000
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.peers import wrk
from bench.peers.classifier import WARM_UP_S, cat
from bench.peers.exchange import Measured
from bench.peers.failures import CannotRun, WrongAnswer
from bench.peers.options import console, counts, make_peers, parser, say
from bench.peers.rounds import Rounds, measure, rows, table
from bench.peers.running import Server
from bench.peers.servers.base import ENGINE_PACKAGES, Classifying, Launch, Peer


def main() -> int:
    """Measure and print the tables."""
    options = parser("images/s of a model repository with the default classifier", "hubserve-v2,triton", 8)
    options.add_argument("--engines", type=_engines, default="paddle,openvino", help=f"of {','.join(ENGINE_PACKAGES)}, each in turn")
    options.add_argument("--connections", type=counts, default="8,32", help="requests in flight, each in turn")
    options.add_argument("--delay-us", type=int, default=2000, help="max_queue_delay_microseconds in the model's configuration")
    args = options.parse_args()
    not_run: dict[str, str] = {}
    results: dict[str, Rounds] = {}
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for engine in args.engines:
                peers = make_peers(args.peers, args.cache, not_run)
                results[engine] = measure_engine(args, peers, engine, Path(scratch), not_run)
    except (WrongAnswer, CannotRun) as error:
        say(f"The run failed: {error}")
        return 1
    report(args, results, not_run)
    return 0 if all(results.values()) else 1


def measure_engine(args: argparse.Namespace, peers: list[Peer], engine: str, scratch: Path, not_run: dict[str, str]) -> Rounds:
    """Measure closed loops with one engine."""
    work = Classifying(args.workers, engine, cat())

    def prepare(peer: Peer, port: int, folder: Path) -> Launch:
        return peer.repository(work, args.delay_us, port, folder)

    def every(server: Server) -> list[tuple[int, Measured]]:
        seen = []
        for count in args.connections:
            server.closed_loop(count, WARM_UP_S)
            seen.append((count, server.closed_loop(count, args.seconds)))
        return seen

    return measure(args, peers, engine, prepare, every, scratch, not_run)


def report(args: argparse.Namespace, results: dict[str, Rounds], not_run: dict[str, str]) -> None:
    """Print the measurements."""
    client = "wrk" if wrk.available() else "asyncio"
    if args.json:
        about = {"client": client, "workers": args.workers, "rounds": args.rounds, "seconds": args.seconds, "delay_us": args.delay_us}
        print(json.dumps({**about, "engines": {engine: rows(seen) for engine, seen in results.items()}, "not_run": not_run}, indent=2))
        return
    how = f"delay {args.delay_us} microseconds, {args.workers} workers each, medians of {args.rounds} rounds of {args.seconds:g} s"
    for engine, seen in results.items():
        console().print(table(f"A repository with the classifier on {engine}, closed loop ({client}), {how}", rows(seen)))
    for title, reason in not_run.items():
        print(f"{title} could not be run: {reason}")


def _engines(text: str) -> list[str]:
    chosen = [each.strip() for each in text.split(",")]
    unknown = [each for each in chosen if each not in ENGINE_PACKAGES]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no engine '{unknown[0]}' here; there are {', '.join(ENGINE_PACKAGES)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
