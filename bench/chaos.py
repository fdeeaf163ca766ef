"""A server under load while everything around it goes wrong: not one well-formed request may fail.

Load is 70% of what a module with two instances can answer in this run; at most 512 requests are in flight, more wait in the client.
Meanwhile an instance is killed every 3 s; requests of the module and of a second one hang, leak memory and raise; a new version is
installed and the module is reloaded every 20 s each; 50 clients send one byte a second, and 50 send garbage. Further faults are in
``stress/attacks.py``: no descriptors, broken frames, processes that hold an instance's sockets, reloads during reloads, bodies that
are only announced, answers that are never read, deep documents. Every module must answer 2 s after the last fault.

    python bench/chaos.py --minutes 5
    python bench/chaos.py --minutes 0.5 --without hang,leak,install,reload
"""

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from stress.attacks import ATTACKS
from stress.calls import Call, expecting, post_octets
from stress.client import Client, Tally, closed_loop, open_loop
from stress.faults import GARBAGE_CLIENTS, JUDGED, KILL_EVERY_S, PARTS, SLOW_CLIENTS, Faults, plain_calls
from stress.processes import MemoryLog, child_pids, descriptor_count
from stress.report import Promise, growth_promise, print_report
from stress.rude import AS_IF_RIGHT
from stress.server import ROOT, Server, add_server_options, copy_module, hub, running_server

INSTANCES = 2
COMPUTE_TIMEOUT_S = 2.0
MAX_MEMORY_MB = 256
#: an instance may be over the limit by what it leaks until it is looked at
_MEMORY_LEEWAY_MB = 160
_FULL_LOAD_CONNECTIONS = 32
#: of the run: the first stretch is to settle, the second is compared with the last
_STRETCH = 0.2
_SHORTEST_JUDGED_S = 120
#: what was given to the old version's instances may still have to be computed, or computed again
_LONGEST_OVERLAP_S = 5.0
_TROUBLE_PER_S = _PICTURES_PER_S = 5.0
#: time within which every module must answer again after the last fault
_RECOVERY_S = 2.0
_ANSWER_S = 5.0
#: in the server's log
_UNEXPECTED = "an unexpected error"


def main() -> int:
    """Run, print, and return the exit status."""
    parser = argparse.ArgumentParser(
        description="load on a server while its modules, processes and clients fail; ends with 1 if an answer is lost"
    )
    parser.add_argument("--minutes", type=float, default=5, help="how long (default %(default)s)")
    parser.add_argument("--load", type=float, default=0.7, help="of the measured full load (default %(default)s)")
    parser.add_argument("--look-seconds", type=float, default=3, help="length of the look for full load (default %(default)s)")
    parser.add_argument("--without", default="", metavar="PART,...", help=f"leave out some of {', '.join(PARTS)}")
    parser.add_argument("--classifier", action="store_true", help="serve the default classifier too, and send it arrays")
    add_server_options(parser)
    args = parser.parse_args()
    without = set(filter(None, args.without.split(",")))
    if without - set(PARTS):
        parser.error(f"--without knows {', '.join(PARTS)}; not {', '.join(sorted(without - set(PARTS)))}")
    parts = set(PARTS) - without - (set() if args.guarded else {"rotate"})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        installed = hub("install", copy_module("checked", folder / "checked", name="checked", version="1.0.0"), home=folder / "home")
        installed.check_returncode()
        with running_server(modules(folder, parts, args.classifier), folder=folder, log=args.log, guarded=args.guarded) as server:
            found = uvloop.run(Chaos(server, folder, parts).run(args))
    return report(found, args)


def modules(folder: Path, parts: set[str], classifier: bool) -> dict[str, Any]:
    """Return the config's ``modules_info``: the installed module under load, one in trouble, and the classifier if wanted."""
    limits: dict[str, Any] = {"compute_timeout_s": COMPUTE_TIMEOUT_S} if "hang" in parts else {}
    limits |= {"max_memory_mb": MAX_MEMORY_MB} if "leak" in parts else {}
    trouble = copy_module("checked", folder / "trouble", name="trouble", version="1.0.0")
    served: dict[str, Any] = {
        "checked": {"workers": INSTANCES, **limits},
        "trouble": {"init_args": {"directory": str(trouble)}, "workers": 1, **limits},
    }
    if classifier:
        init_args = {"directory": str(ROOT / "hubmodules" / "clas"), "inference_model_dir": str(ROOT / "inference")}
        served["clas_system"] = {"init_args": init_args}
    return served


@dataclass
class Found:
    """Results of a run.

    Attributes:
        full_load_per_s: measured before.
        tallies: name of the load -> what became of it.
        faults: what was done.
        versions: version -> (seconds at which it was first and last seen in an answer, how many answers).
        memory: over time.
        descriptors: of the gateway, before and after.
        silent: modules that did not answer right 2 s after the last fault.
        sent_again: requests whose new connection the server could not take; see :class:`stress.client.Client`.
        alive: the server answered in the end that it is ready.
        unexpected: lines of the server's log that report an internal error.
        broken: errors of this program itself, which ended one of its faults.
        seconds: how long it took.
    """

    full_load_per_s: float
    tallies: dict[str, Tally]
    faults: Faults
    versions: dict[str, tuple[float, float, int]]
    memory: MemoryLog
    descriptors: tuple[int, int]
    silent: list[str]
    sent_again: int
    alive: bool
    unexpected: int
    broken: list[str]
    seconds: float


@dataclass
class Chaos:
    """One run against a server."""

    server: Server
    folder: Path
    parts: set[str]
    versions: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    _start_s: float = 0.0

    async def run(self, args: argparse.Namespace) -> Found:
        """Find full load, then send a share of it while faults are injected."""
        seconds = args.minutes * 60
        gateway = self.server.process.pid
        patient = "descriptors" in self.parts
        async with Client(self.server.port, is_patient=patient) as client, Client(self.server.port, is_patient=patient) as other:
            full = await full_load(client, args.look_seconds)
            pictures = await pictures_calls(other) if args.classifier else None
            before = descriptor_count(gateway)
            self._start_s = time.perf_counter()
            memory, faults = MemoryLog(gateway), Faults(self.server, other, self.folder, self.parts)
            tasks = [*faults.start(), asyncio.create_task(self._sample(memory, seconds))]
            loads = {
                "load": open_loop(client, plain_calls("checked", self._saw), args.load * full, seconds),
                "plain requests of 'trouble'": open_loop(other, plain_calls("trouble"), _TROUBLE_PER_S, seconds),
            }
            if pictures:
                loads["classifier"] = open_loop(other, pictures, _PICTURES_PER_S, seconds)
            tallies = dict(zip(loads, await asyncio.gather(*loads.values()), strict=True))
            took_s = time.perf_counter() - self._start_s
            broken = await _end(tasks)
            await other.idle()
            memory.take(1.0, child_pids(gateway))
            await asyncio.sleep(_RECOVERY_S)
            silent = await self._silent(other, pictures)
            sent_again = client.sent_again + other.sent_again
        alive = self.server.process.poll() is None and await asyncio.to_thread(_is_ready, self.server)
        after = descriptor_count(gateway) if alive else 0
        unexpected = self.server.log.read_text(errors="replace").count(_UNEXPECTED)
        return Found(full, tallies, faults, self.versions, memory, (before, after), silent, sent_again, alive, unexpected, broken, took_s)

    async def _silent(self, client: Client, pictures: Iterator[Call] | None) -> list[str]:
        """Ask each module once and return those that do not answer correctly."""
        calls = {"checked": plain_calls("checked"), "trouble": plain_calls("trouble")} | ({"classifier": pictures} if pictures else {})
        tallies = {name: Tally() for name in calls}
        asked = asyncio.gather(*(client.ask(next(calls[name]), tally) for name, tally in tallies.items()))
        await asyncio.wait({asked}, timeout=_ANSWER_S)
        return [f"{name}: {tally.failures or 'no answer'}" for name, tally in tallies.items() if not tally.right]

    def _saw(self, version: str) -> None:
        now_s = time.perf_counter() - self._start_s
        first_s, _, count = self.versions.get(version, (now_s, now_s, 0))
        self.versions[version] = (first_s, now_s, count + 1)

    async def _sample(self, memory: MemoryLog, seconds: float) -> None:
        while True:
            memory.take(min(1.0, (time.perf_counter() - self._start_s) / seconds), child_pids(self.server.process.pid))
            await asyncio.sleep(0.5)


async def _end(tasks: list["asyncio.Task[None]"]) -> list[str]:
    """Cancel tasks; return the errors of those that had ended before, as no task should."""
    for task in tasks:
        task.cancel()
    return [repr(error) for error in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(error, Exception)]


def _is_ready(server: Server) -> bool:
    try:
        server.wait_until_ready()
    except AssertionError:
        return False
    return True


async def full_load(client: Client, seconds: float) -> float:
    """Measure the answers per second of the saturated module."""
    await closed_loop(client, plain_calls("checked"), _FULL_LOAD_CONNECTIONS, seconds / 3)
    tally = await closed_loop(client, plain_calls("checked"), _FULL_LOAD_CONNECTIONS, seconds)
    return tally.rate_per_s(0, seconds)


async def pictures_calls(client: Client) -> Iterator[Call]:
    """Yield requests for the classifier without end; its first answer is the expected one from then on."""
    raw = post_octets("clas_system", np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32))
    answers: list[Any] = []
    first = Tally()
    await client.ask(Call(raw, expecting(lambda results: answers.append(_classes(results)) is None)), first)
    if not answers:
        raise SystemExit(f"the classifier cannot be asked: {first.failures}")

    def calls() -> Iterator[Call]:
        call = Call(raw, expecting(lambda results: _classes(results) == answers[0]))
        while True:
            yield call

    return calls()


def _classes(results: Any) -> list[Any]:
    return [each["class_ids"] for each in results["prediction"]]


def report(found: Found, args: argparse.Namespace) -> int:
    """Print the results; return the exit status."""
    specials = {f"requests to {part}": found.faults.tallies[part] for part in JUDGED if part in found.faults.parts}
    tallies = {**found.tallies, **specials}
    failures = [(name, failure) for name, tally in tallies.items() for failure in tally.failures]
    details = {
        "full_load_per_s": found.full_load_per_s,
        "failures": [{"of": name, **failure._asdict(), "after": found.faults.before(failure.time_s)} for name, failure in failures],
        "events": [event._asdict() for event in found.faults.events],
        "versions": found.versions,
        "sent_again": found.sent_again,
        "rude_clients": dict(sorted(found.faults.rude.items())),
        "samples": found.memory.to_json(),
    }
    title = f"{args.minutes:g} minutes at {args.load:.0%} of {found.full_load_per_s:.0f} requests/s, without {args.without or 'nothing'}"
    return print_report(title, [_row(name, tally) for name, tally in tallies.items()], promises(found), details, as_json=args.json)


def _row(name: str, tally: Tally) -> dict[str, Any]:
    return {
        "requests": name,
        "sent": tally.sent,
        "right": tally.right,
        "failed or wrong": tally.failure_count + tally.lost,
        "p50, ms": tally.latency_ms(50),
        "p99, ms": tally.latency_ms(99),
        "slowest, ms": tally.latency_ms(100),
        "sent late": tally.late,
    }


def promises(found: Found) -> list[Promise]:
    """Compare the results with the promises."""
    faults, parts, memory = found.faults, found.faults.parts, found.memory
    loads = [tally for name, tally in found.tallies.items() if name != "plain requests of 'trouble'"]
    bad, lost, sent = (sum(getattr(each, what) for each in loads) for what in ("failure_count", "lost", "sent"))
    leaked = faults.tallies["leak"]
    long_enough = found.seconds >= _SHORTEST_JUDGED_S
    early, late = (_STRETCH, 2 * _STRETCH), (1 - _STRETCH, 1.0)
    kept = [
        Promise("no failed or wrong answer of the load", f"{lost} lost, {bad} failed or wrong, of {sent}", bad + lost == 0),
        Promise(f"every module answers {_RECOVERY_S:g} s after the last fault", "; ".join(found.silent) or "each does", not found.silent),
        growth_promise(
            "gateway, from the settled minute to the last", memory.gateway_mb(*early), memory.gateway_mb(*late), judged=long_enough
        ),
        Promise(
            "the server is ready in the end", f"descriptors of the gateway {found.descriptors[0]} -> {found.descriptors[1]}", found.alive
        ),
        Promise("no unexpected error in the server's log", str(found.unexpected), found.unexpected == 0),
        Promise("everything went wrong until the end", "; ".join(found.broken) or "it did", not found.broken),
    ]
    if "kill" in parts:
        kills, wanted = faults.done("kill"), int(found.seconds / KILL_EVERY_S / 2)
        kept.append(Promise("instances were killed", f"{kills} times", kills >= wanted))
    if "raise" in parts:
        raised = faults.tallies["raise"]
        kept.append(Promise("a request that raises gets its error", f"{raised.right} of {raised.sent}", raised.right == raised.sent > 0))
    if "hang" in parts:
        hung = faults.tallies["hang"]
        kept.append(Promise("what hangs is refused", f"{hung.right} of {hung.sent}", hung.right == hung.sent > 0))
    if "leak" in parts:
        peak = memory.peak_instance_mb()
        limit = MAX_MEMORY_MB + _MEMORY_LEEWAY_MB
        kept.append(Promise(f"an instance that leaks is replaced before it has {limit} MB", f"at most {peak:.0f} MB", peak <= limit))
        kept.append(Promise("requests that leak are answered", f"{leaked.right} of {leaked.sent}", leaked.right == leaked.sent > 0))
    if "install" in parts:
        kept += _swap_promises(found)
    if "reload" in parts:
        failed = [event.text for event in faults.events if event.part == "reload" and event.failed]
        kept.append(Promise("every 'hub serving reload' succeeds", failed[0] if failed else f"{faults.done('reload')} times", not failed))
    for part in ("fork", "frames"):
        if part in parts:
            ended = faults.tallies[part]
            kept.append(
                Promise(
                    f"a request that ends its instance gets that reason ('{part}')",
                    f"{ended.right} of {ended.sent}",
                    ended.right == ended.sent,
                )
            )
    for part in (ATTACKS.keys() | {"rotate"}) & parts:
        failed = [event.text for event in faults.events if event.part == part and event.failed]
        kept.append(Promise(f"the fault '{part}' is carried out", failed[0] if failed else f"{faults.done(part)} times", not failed))
    if {"slow", "garbage"} & parts:
        kept.append(_rude_promise(found))
    return kept


def _swap_promises(found: Found) -> list[Promise]:
    failed = [event.text for event in found.faults.events if event.part == "install" and event.failed]
    installed = [event.text.split()[1] for event in found.faults.events if event.part == "install" and not event.failed]
    missed = [version for version in installed if version not in found.versions]
    overlap_s = _longest_overlap_s(found.versions)
    return [
        Promise("every 'hub install' succeeds", failed[0] if failed else f"{len(installed)} times", not failed),
        Promise(
            "every version that was installed has answered",
            f"not seen: {', '.join(missed)}" if missed else f"seen: {', '.join(sorted(found.versions))}",
            not missed if installed else None,
        ),
        Promise(
            f"an older version answers for at most {_LONGEST_OVERLAP_S:g} s after a newer one has begun",
            f"{max(0.0, overlap_s):.1f} s",
            overlap_s <= _LONGEST_OVERLAP_S if len(found.versions) > 1 else None,
        ),
    ]


def _longest_overlap_s(versions: dict[str, tuple[float, float, int]]) -> float:
    """Return the seconds from the first answer of a version to the last one of its predecessor; the longest over all versions."""
    spans = sorted(versions.values())
    return max((older[1] - newer[0] for older, newer in itertools.pairwise(spans)), default=0.0)


def _rude_promise(found: Found) -> Promise:
    rude = found.faults.rude
    wrong = sum(count for what, count in rude.items() if what.endswith(AS_IF_RIGHT))
    garbage = sum(count for what, count in rude.items() if not what.startswith("slow "))
    slow = sum(count for what, count in rude.items() if what.startswith("slow ") and what.endswith("cut off"))
    text = f"garbage of {GARBAGE_CLIENTS} clients is not taken for requests; {SLOW_CLIENTS} slow clients do not disturb others"
    return Promise(text, f"{wrong} of {garbage} taken for requests; slow ones cut off {slow} times", wrong == 0)


if __name__ == "__main__":
    sys.exit(main())
