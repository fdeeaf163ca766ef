"""Options of the comparisons, and their output when a peer cannot run."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from bench.peers.environments import DEFAULT_CACHE
from bench.peers.failures import CannotRun
from bench.peers.servers import PEERS, load
from bench.peers.servers.base import Peer


def parser(description: str, peers: str, seconds: float) -> argparse.ArgumentParser:
    """Return a parser of the options that all comparisons have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--peers", type=names, default=peers, help=f"which servers, of {','.join(PEERS)}")
    made.add_argument("--workers", type=int, default=2, help="Python workers of each server")
    made.add_argument("--rounds", type=int, default=3, help="rounds; each starts every server in turn")
    made.add_argument("--seconds", type=float, default=seconds, help="length of one measurement")
    made.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="where the peers' environments are kept")
    made.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return made


def names(text: str) -> list[str]:
    """Read names of peers, separated by commas."""
    chosen = list(dict.fromkeys(each.strip() for each in text.split(",")))
    unknown = [each for each in chosen if each not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no peer '{unknown[0]}'; there are {', '.join(PEERS)}")
    return chosen


def counts(text: str) -> list[int]:
    """Read whole numbers from 1 up, separated by commas."""
    try:
        read = [int(each) for each in text.split(",")]
    except ValueError:
        read = [0]
    if min(read) < 1:
        raise argparse.ArgumentTypeError(f"must be whole numbers from 1 up, separated by commas, got '{text}'")
    return read


def make_peers(chosen: list[str], cache: Path, not_run: dict[str, str]) -> list[Peer]:
    """Return the peers whose environments exist or can be made; the others' reasons go into ``not_run``."""
    made = []
    for name in chosen:
        peer = load(name)
        peer.cache = cache
        try:
            if peer.environment:
                _ = peer.interpreter
        except CannotRun as error:
            cannot_run(peer.title, error, not_run)
        else:
            made.append(peer)
    return made


def cannot_run(title: str, error: CannotRun, not_run: dict[str, str]) -> None:
    """Record and print that a peer cannot run."""
    not_run[title] = str(error)
    say(f"{title} could not be run: {error}")


def console() -> Console:
    """Return the console for tables: as wide as the terminal, and wide enough in a file."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def say(text: str) -> None:
    """Print progress to stderr; standard output is for results."""
    print(text, file=sys.stderr, flush=True)
