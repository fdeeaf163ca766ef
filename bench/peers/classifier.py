"""The default classifier through each server: images/s, latency, and memory after the run; the same client and cores for every server.

Each round starts the servers one after the other, and medians of the rounds are compared.

    python bench/peers/classifier.py --peers hubserve,mosec,triton,paddlehub --engine paddle --connections 8 --batch 1
"""

import argparse
import json
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.peers import wrk
from bench.peers.failures import CannotRun, WrongAnswer
from bench.peers.options import cannot_run, console, make_peers, parser, say
from bench.peers.running import serving
from bench.peers.servers.base import ENGINE_PACKAGES, MODEL, Classifying, Peer
from hubserve.vision import ClassificationPreprocess, decode_picture

WARM_UP_S = 3.0
OURS = "hubserve"


class Contestant(NamedTuple):
    """A server with one of its ways to compute."""

    peer: Peer
    engine: str

    @property
    def title(self) -> str:
        """Name in tables."""
        return f"{self.peer.title}, {self.engine}"

    def name_engine(self, port: int) -> str:
        """Return the engine's name, and the one that the server on this port chose, if it did."""
        chosen = self.peer.engine_in_use(port)
        return self.engine if chosen in (None, self.engine) else f"{self.engine} ({chosen})"


class Seen(NamedTuple):
    """One round of one contestant."""

    engine: str
    images_per_s: float
    p50_ms: float
    p99_ms: float
    memory_bytes: int


def main() -> int:
    """Measure and print the table."""
    options = parser("images/s and memory of the default classifier", "hubserve,mosec,mosec-batching,triton,paddlehub", 8)
    options.add_argument("--engine", choices=list(ENGINE_PACKAGES), default="paddle", help="what hubserve, mosec and Triton compute with")
    options.add_argument("--connections", type=int, default=8, help="requests in flight")
    options.add_argument("--batch", type=int, default=1, help="images in a request")
    args = options.parse_args()
    not_run: dict[str, str] = {}
    try:
        images = np.repeat(cat(), args.batch, axis=0)
        peers = make_peers(args.peers, args.cache, not_run)
        contestants = [Contestant(peer, engine) for peer in peers for engine in peer.engines(args.engine)]
        with tempfile.TemporaryDirectory() as scratch:
            measured = measure(args, contestants, images, Path(scratch), not_run)
    except (WrongAnswer, CannotRun) as error:
        say(f"The run failed: {error}")
        return 1
    report(args, rows(measured), not_run)
    return 0 if measured else 1


def cat() -> np.ndarray:
    """Return scikit-image's cat as clients prepare their pictures, float32 (1, 3, 224, 224).

    Raises:
        CannotRun: the model or the photo is not there.
    """
    if not (MODEL / "inference.pdmodel").is_file():
        raise CannotRun(f"there is no default classifier in {MODEL}; make it with tools/export_model.py, or with make")
    try:
        from skimage import data
    except ModuleNotFoundError:
        raise CannotRun("the cat's photo is scikit-image's, which is not installed; make installs it") from None
    photo = Path(data.__file__).parent / "chelsea.png"
    return np.ascontiguousarray(ClassificationPreprocess(256, 224)(decode_picture(photo.read_bytes())), np.float32)[None]


def measure(
    args: argparse.Namespace, contestants: list[Contestant], images: np.ndarray, scratch: Path, not_run: dict[str, str]
) -> dict[Contestant, list[Seen]]:
    """Measure every contestant in every round; drop those that cannot run."""
    measured: dict[Contestant, list[Seen]] = {}
    for number in range(args.rounds):
        for contestant in list(contestants):
            say(f"round {number + 1} of {args.rounds}: {contestant.title}")
            work = Classifying(args.workers, contestant.engine, images)
            try:
                with serving(contestant.title, partial(contestant.peer.classifier, work), scratch) as server:
                    server.closed_loop(args.connections, WARM_UP_S)
                    seen = server.closed_loop(args.connections, args.seconds)
                    memory = server.memory_bytes()
                    engine = contestant.name_engine(server.port)
            except CannotRun as error:
                cannot_run(contestant.title, error, not_run)
                contestants.remove(contestant)
                continue
            measured.setdefault(contestant, []).append(Seen(engine, seen.per_second * args.batch, seen.p50_ms, seen.p99_ms, memory))
    return measured


def rows(measured: dict[Contestant, list[Seen]]) -> list[dict[str, Any]]:
    """Return medians of the rounds, and each of hubserve's engines compared with every other server."""
    made: list[dict[str, Any]] = []
    for contestant, rounds in measured.items():
        figures = {name: statistics.median(getattr(seen, name) for seen in rounds) for name in Seen._fields if name != "engine"}
        made.append({"server": contestant.peer.title, "engine": " or ".join(dict.fromkeys(seen.engine for seen in rounds)), **figures})
    ours = [row for row in made if row["server"] == OURS]
    for row in made:
        if row["server"] != OURS:
            row["hubserve_images_ratio"] = {each["engine"]: each["images_per_s"] / row["images_per_s"] for each in ours}
            row["hubserve_memory_ratio"] = {each["engine"]: each["memory_bytes"] / row["memory_bytes"] for each in ours}
    return made


def report(args: argparse.Namespace, made: list[dict[str, Any]], not_run: dict[str, str]) -> None:
    """Print the results."""
    client = "wrk" if wrk.available() else "asyncio"
    if args.json:
        about = {"client": client, "workers": args.workers, "rounds": args.rounds, "seconds": args.seconds}
        about |= {"connections": args.connections, "batch": args.batch}
        print(json.dumps({**about, "rows": made, "not_run": not_run}, indent=2))
        return
    table = Table(
        title=f"Default classifier, {args.batch} image(s) in a request, {args.connections} connections ({client}), {args.workers} workers, "
        f"one thread each, medians of {args.rounds} rounds of {args.seconds:g} s",
        caption="hubserve's images/s and memory to a server's own, hubserve with each of its engines",
    )
    for column in ("server", "engine"):
        table.add_column(column)
    ours = [row["engine"] for row in made if row["server"] == OURS]
    for column in ("images/s", "p50, ms", "p99, ms", "memory, MB", *(f"{engine}: images/s, memory" for engine in ours)):
        table.add_column(column, justify="right")
    for row in made:
        figures = (f"{row['images_per_s']:.1f}", f"{row['p50_ms']:.0f}", f"{row['p99_ms']:.0f}", f"{row['memory_bytes'] / 1e6:.0f}")
        table.add_row(row["server"], row["engine"], *figures, *(_ratios(row, engine) for engine in ours))
    console().print(table)
    for title, reason in not_run.items():
        print(f"{title} could not be run: {reason}")


def _ratios(row: dict[str, Any], engine: str) -> str:
    if row["server"] == OURS:
        return ""
    return f"{row['hubserve_images_ratio'][engine]:.2f}, {row['hubserve_memory_ratio'][engine]:.2f}"


if __name__ == "__main__":
    sys.exit(main())
