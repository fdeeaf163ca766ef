"""What goes wrong around a server, on purpose and on time."""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import requests

from . import protection
from .attacks import ATTACKS, Attack, call_of
from .calls import Answer, Call, expecting, post_array
from .client import Client, Tally
from .rude import garbage_client, slow_client
from .server import Server, copy_module, hub

#: the codes of bench/modules/checked
PLAIN, HANG, LEAK, RAISE = 0, 1, 2, 3
RAISED_TEXT = "an item asked for this error"

KILL_EVERY_S, INSTALL_EVERY_S, HANG_EVERY_S, RAISE_EVERY_S = 3.0, 20.0, 15.0, 1.0
#: module -> (MiB at once, seconds between)
LEAKS = {"checked": (64, 1.5), "trouble": (16, 0.5)}
_FIRST_INSTALL_S, _FIRST_RELOAD_S, _FIRST_HANG_S, _FIRST_KILL_S = 10.0, 20.0, 5.0, 1.5
_ROTATE_EVERY_S, _FIRST_ROTATION_S, _OLD_KEY_S = 7.0, 2.0, 3.0
SLOW_CLIENTS = GARBAGE_CLIENTS = 50

PARTS = ("kill", "hang", "leak", "raise", "install", "reload", "slow", "garbage", "rotate", *ATTACKS)
#: parts whose requests are checked but do not count as load
JUDGED = ("hang", "leak", "raise", "fork", "frames")


class Event(NamedTuple):
    """Something that was done to the server.

    Attributes:
        time_s: seconds since the start.
        part: one of PARTS.
        text: what was done, to what.
        failed: it could not be done.
    """

    time_s: float
    part: str
    text: str
    failed: bool = False


def special(module: str, code: int, value: float = 1.0, mebibytes: int = 0) -> bytes:
    """Return a request of one item that asks the module to misbehave, or, with PLAIN, not to."""
    headers = ["X-Hub-Timeout-Ms: 20000"] if code == HANG else []
    return post_array(module, np.array([[value, code, mebibytes]], np.float32), headers)


def doubled(value: float) -> Callable[[Answer], str]:
    """Return a check of plain answers."""
    return expecting(lambda results: results["y"] == [[2 * value]])


def is_refused(answer: Answer) -> str:
    """Return a check of answers to requests that cannot be computed."""
    return "a request that hangs was answered as if right" if b'"status":"000"' in answer.body else ""


def is_raised(answer: Answer) -> str:
    """Return a check of answers to requests that raise: they have the module's own text."""
    return (
        "" if RAISED_TEXT.encode() in answer.body and b'"status":"000"' not in answer.body else "not answered with what the module raised"
    )


@dataclass
class Faults:
    """Injector of the selected :data:`PARTS`, each on time, until it is cancelled.

    Attributes:
        events: what was done.
        rude: what slow clients and senders of garbage met with.
        tallies: part -> its special requests, which do not count as load.
    """

    server: Server
    client: Client
    folder: Path
    parts: set[str]
    events: list[Event] = field(default_factory=list)
    rude: "Counter[str]" = field(default_factory=Counter)
    tallies: dict[str, Tally] = field(default_factory=lambda: {part: Tally() for part in JUDGED})
    versions: list[str] = field(default_factory=lambda: ["1.0.0"])
    _start_s: float = field(default_factory=time.perf_counter)
    _chance: random.Random = field(default_factory=lambda: random.Random(0))

    def start(self) -> list["asyncio.Task[None]"]:
        """Start the faults; the caller cancels the tasks in the end."""
        turns = itertools.cycle(LEAKS)
        jobs: dict[str, list[Awaitable[None]]] = {
            "kill": [_every(KILL_EVERY_S, _FIRST_KILL_S, self._kill)],
            "hang": [_every(HANG_EVERY_S, _FIRST_HANG_S, lambda: self._hang(next(turns)))],
            "leak": [
                _every(period_s, period_s, lambda name=name, mib=mib: self._leak(name, mib)) for name, (mib, period_s) in LEAKS.items()
            ],
            "raise": [
                _every(RAISE_EVERY_S, RAISE_EVERY_S * index / 2, lambda name=name: self._raise(name)) for index, name in enumerate(LEAKS)
            ],
            "install": [_every(INSTALL_EVERY_S, _FIRST_INSTALL_S, self._install)],
            "reload": [_every(INSTALL_EVERY_S, _FIRST_RELOAD_S, self._reload)],
            "rotate": [_every(_ROTATE_EVERY_S, _FIRST_ROTATION_S, self._rotate)],
            "slow": [slow_client(self.server.port, "checked", number, self.rude) for number in range(SLOW_CLIENTS)],
            "garbage": [garbage_client(self.server.port, "checked", number, self.rude) for number in range(GARBAGE_CLIENTS)],
        }
        for name, attack in ATTACKS.items():
            jobs[name] = [_every(attack.every_s, attack.first_s, lambda name=name, attack=attack: self._attack(name, attack))]
        tasks = []
        for part, coroutines in jobs.items():
            for coroutine in coroutines:
                if part in self.parts:
                    tasks.append(asyncio.ensure_future(coroutine))
                else:
                    coroutine.close()  # type: ignore[attr-defined]
        return tasks

    def done(self, part: str) -> int:
        """Return how often a part was carried out."""
        return sum(event.part == part and not event.failed for event in self.events)

    def before(self, time_s: float) -> str:
        """Return the last few events before a time, to trace a failure by."""
        earlier = [event for event in self.events if event.time_s <= time_s and event.part not in ("leak", "raise")]
        return "; ".join(f"{event.text} {time_s - event.time_s:.2f} s before" for event in earlier[-3:])

    def _note(self, part: str, text: str, *, failed: bool = False) -> None:
        self.events.append(Event(round(time.perf_counter() - self._start_s, 3), part, text, failed))

    async def _attack(self, name: str, attack: Attack) -> None:
        try:
            self._note(name, await attack.run(self))
        except (OSError, RuntimeError, ValueError, StopIteration, requests.RequestException) as error:
            self._note(name, f"could not be carried out: {error!r}", failed=True)

    def special(self, module: str, code: int) -> bytes:
        """See :func:`special`."""
        return special(module, code)

    def ask_to_misbehave(self, part: str, code: int) -> None:
        """Have an instance of each module do something that ends it."""
        for module in LEAKS:
            self.client.submit(call_of(special(module, code)), time.perf_counter(), self.tallies[part])

    async def reload(self) -> str:
        """Run ``hub serving reload``; return why it failed, or ""."""
        done = await asyncio.to_thread(hub, "serving", "reload", "-p", self.server.port, "checked", home=self.server.home)
        return done.stderr.strip()[-500:] or f"status {done.returncode}" if done.returncode else ""

    async def _kill(self) -> None:
        try:
            pids = await asyncio.to_thread(self.server.instance_pids, "checked")
        except (requests.RequestException, StopIteration) as error:
            self._note("kill", f"no status to be had: {error}", failed=True)
            return
        if not pids:
            self._note("kill", "no instance to kill", failed=True)
            return
        pid = self._chance.choice(pids)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self._note("kill", f"killed {pid} of {pids}")

    async def _hang(self, module: str) -> None:
        self._submit("hang", module, Call(special(module, HANG), is_refused))

    async def _leak(self, module: str, mebibytes: int) -> None:
        self._submit("leak", module, Call(special(module, LEAK, 7.0, mebibytes), doubled(7.0)))

    async def _raise(self, module: str) -> None:
        self._submit("raise", module, Call(special(module, RAISE), is_raised))

    def _submit(self, part: str, module: str, call: Call) -> None:
        self._note(part, f"asked '{module}' to {part}")
        self.client.submit(call, time.perf_counter(), self.tallies[part])

    async def _install(self) -> None:
        version = f"1.0.{len(self.versions)}"
        folder = copy_module("checked", self.folder / f"checked-{version}", name="checked", version=version)
        await self._hub("install", f"installed {version}", "install", folder)
        self.versions.append(version)

    async def _reload(self) -> None:
        await self._hub("reload", "reloaded", "serving", "reload", "-p", self.server.port, "checked")

    async def _rotate(self) -> None:
        """Replace certificate and key, and revoke the old key once no client uses it."""
        try:
            old = await asyncio.to_thread(protection.current.rotate)
            await asyncio.sleep(_OLD_KEY_S)
            await asyncio.to_thread(protection.current.revoke, old)
        except (OSError, RuntimeError, ValueError, subprocess.TimeoutExpired) as error:
            self._note("rotate", f"could not be carried out: {error!r}", failed=True)
        else:
            self._note("rotate", f"new certificate and key, {old} revoked")

    async def _hub(self, part: str, text: str, *arguments: object) -> None:
        start_s = time.perf_counter()
        try:
            done = await asyncio.to_thread(hub, *arguments, home=self.server.home)
            reason = done.stderr.strip()[-500:] or f"status {done.returncode}" if done.returncode else ""
        except subprocess.TimeoutExpired as error:
            reason = str(error)
        took = f"in {time.perf_counter() - start_s:.1f} s"
        self._note(part, f"'hub {part}' failed {took}: {reason}" if reason else f"{text} {took}", failed=bool(reason))


def plain_calls(module: str, seen: Callable[[str], None] = lambda _: None) -> Iterator[Call]:
    """Yield requests without end, each with a different answer.

    Args:
        module: which to ask.
        seen: called with the version in each answer.
    """

    def call(value: float) -> Call:
        def is_right(results: dict[str, object]) -> bool:
            seen(str(results["version"]))
            return results["y"] == [[2 * value]]

        return Call(special(module, PLAIN, value), expecting(is_right))

    return itertools.cycle([call(float(value)) for value in range(1, 1025)])


async def _every(period_s: float, first_s: float, action: Callable[[], Awaitable[None]]) -> None:
    start_s = time.perf_counter()
    for number in itertools.count():
        await asyncio.sleep(max(0.0, start_s + first_s + number * period_s - time.perf_counter()))
        await action()
