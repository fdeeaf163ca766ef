"""Break installs, uninstalls and rollbacks at each of their file system calls, and look for anything but the old state or the new one.

Run it: python -m tests.unit.registry.faults [--every N]; prints a table, and exits with 1 if any run left a third state.
"""

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.errors import HubError
from hubserve.registry.digests import measure
from hubserve.registry.history import NO_HISTORY, read_history
from hubserve.registry.install.verification import verify
from hubserve.registry.installer import Installer
from tests.unit.registry.toys import pack, strays, write_module
from tests.unit.registry.tracing import Fault, can_trace, run_with_fault, run_with_hook

DONE, REFUSED, INTERRUPTED, CRASHED = 0, 3, 4, 5
_TMPFS_STEP_BYTES = 4096

State = tuple[Any, ...]


class Run(NamedTuple):
    """One broken run.

    Attributes:
        action: what was done.
        fault: what happened.
        call: the call that it happened at.
        outcome: how the process ended.
        found: ``old``, ``new``, or a description of what is wrong.
    """

    action: str
    fault: str
    call: str
    outcome: str
    found: str

    @property
    def crashed(self) -> bool:
        """True if the process crashed; an interrupt while Python imports a compiled package may look like that, and does not count."""
        interrupted = self.fault == Fault.INTERRUPT.value and self.outcome == f"crashed with {-signal.SIGSEGV}"
        return self.outcome.startswith("crashed") and not interrupted


def _install(name: str) -> Callable[[Installer, Path], Any]:
    return lambda installer, scratch: installer.install(scratch / name, check=False)


#: what is done: the modules that are installed before, and the action
ACTIONS: dict[str, tuple[tuple[str, ...], Callable[[Installer, Path], Any]]] = {
    "first install": ((), _install("new")),
    "new version": (("old",), _install("second")),
    "new version from an archive": (("old",), _install("second.tar.gz")),
    "same version again": (("old",), _install("new")),
    "same version a third time": (("old", "new"), _install("old")),
    "uninstall a version": (("old", "second"), lambda installer, _: installer.uninstall("toy", "2.0.0")),
    "uninstall": (("old", "second", "new"), lambda installer, _: installer.uninstall("toy")),
    "roll a version back": (("old", "second"), lambda installer, _: installer.rollback("toy")),
    "roll files back": (("old", "new"), lambda installer, _: installer.rollback("toy")),
    "older home": (("old", "second", "plain"), _install("new")),
}


def make_modules(scratch: Path) -> None:
    """Write the modules that the actions install."""
    write_module(scratch / "old", which__txt="old", weights__bin="w" * 40_000)
    write_module(scratch / "new", which__txt="new", more__txt="more", weights__bin="w" * 30_000)
    write_module(scratch / "second", version="2.0.0", which__txt="second")
    write_module(scratch / "other", "other")
    pack(scratch / "second.tar.gz", scratch / "second", "w:gz", "toy")


def prepare(scratch: Path, action: str, home: Path) -> None:
    """Create the home in which an action starts."""
    home.mkdir()
    installer = Installer(home)
    for name in ACTIONS[action][0]:
        if name == "plain":
            _make_plain(installer.installed.modules / "toy")
        else:
            installer.install(scratch / name, check=False)


def _make_plain(name_folder: Path) -> None:
    """Turn the home into one of plain version folders without a history, as older homes are."""
    history = read_history(name_folder) or NO_HISTORY
    for version, directory in history.versions.items():
        (name_folder / version).unlink()
        (name_folder / directory).rename(name_folder / version)
    (name_folder / ".history.json").unlink()


def state(installer: Installer) -> State:
    """Return everything that a user can see of the module: versions, files, the current version, and what can be rolled back."""
    listing = installer.installed.scan()
    assert not listing.notes, listing.notes
    versions = []
    for each in listing.installed:
        if each.info.name != "toy":
            continue
        assert measure(each.folder).digest == each.manifest.digest, "a mixture"
        assert verify(each).is_intact, "a mixture"
        versions.append((each.info.version, (each.folder / "which.txt").read_text(), each.is_current))
    history = read_history(installer.installed.modules / "toy") or NO_HISTORY
    kept = [(each.current, each.version, _text(installer.installed.modules / "toy" / each.replaced_dir)) for each in history.changes]
    return tuple(versions), tuple(kept)


def _text(place: Path) -> str:
    return (place / "which.txt").read_text() if (place / "which.txt").is_file() else ""


def act(action: str, scratch: Path, home: Path) -> int:
    """Run an action, and return how it ended: a refused one must have changed nothing, a completed one everything."""
    try:
        ACTIONS[action][1](Installer(home), scratch)
    except HubError:
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException:
        import traceback

        traceback.print_exc()
        return CRASHED
    return DONE


class Bench:
    """Breaks actions in homes below a folder.

    Args:
        scratch: an empty folder.
        traced: whether to see every system call.
    """

    def __init__(self, scratch: Path, traced: bool) -> None:
        self.scratch = scratch
        self._run = run_with_fault if traced else run_with_hook
        self.names = {DONE: "done", REFUSED: "refused", INTERRUPTED: "interrupted", -9: "killed", -2: "interrupted"}
        make_modules(scratch)
        Installer(scratch / "warm-up").install(scratch / "old", check=False)  # what is imported lazily is imported now
        Installer(scratch / "warm-up").install(scratch / "second.tar.gz", check=False)
        Installer(scratch / "warm-up").rollback("toy")
        state(Installer(scratch / "warm-up"))

    def states(self, action: str) -> tuple[State, State]:
        """Return the states before and after an undisturbed action."""
        home = self.scratch / f"reference-{action}"
        prepare(self.scratch, action, home)
        before = state(Installer(home))
        template = self.scratch / f"template-{action}"
        shutil.copytree(home, template, symlinks=True)
        assert act(action, self.scratch, home) == DONE
        return before, state(Installer(home))

    def runs(self, action: str, fault: Fault, every: int, offset: int = 0) -> Iterator[Run]:
        """Break an action at each of its calls, or at every N-th."""
        old, new = self._known(action)
        for nth in range(1 + offset % every, 100_000, every):
            home = self.scratch / "home"
            shutil.copytree(self.scratch / f"template-{action}", home, symlinks=True)
            call, status = self._run(lambda home=home: act(action, self.scratch, home), nth, fault)  # type: ignore[misc]
            if not call:
                shutil.rmtree(home)
                return
            outcome = self.names.get(status, f"crashed with {status}")
            yield Run(action, fault.value, call, outcome, self._judge(home, old, new, status))
            shutil.rmtree(home)

    def _known(self, action: str) -> tuple[State, State]:
        cached: dict[str, tuple[State, State]] = self.__dict__.setdefault("_states", {})
        if action not in cached:
            cached[action] = self.states(action)
        return cached[action]

    def _judge(self, home: Path, old: State, new: State, status: int) -> str:
        installer = Installer(home)
        try:
            found = state(installer)
            name = "old" if found == old else "new" if found == new else f"a third state: {found}"
            if (status == DONE and name == "old") or (status == REFUSED and name == "new") or status in (CRASHED, 99):
                name = f"{name}, although the process said otherwise"
            installer.install(self.scratch / "other", check=False)  # the next command mends the rest
            if state(installer) != found:
                return f"{name}, and then another: {state(installer)}"
            return f"{name}, and left {strays(installer)}" if strays(installer) else name
        except (AssertionError, HubError, OSError) as error:
            return f"nothing that can be used: {error}"

    def limited(self, action: str) -> Iterator[Run]:
        """Let no file grow over a size, for sizes that each end it elsewhere."""
        old, new = self._known(action)
        for limit_bytes in (0, 100, 200, 600, 1000, 20_000, 1 << 20):
            home = self.scratch / "home"
            shutil.copytree(self.scratch / f"template-{action}", home, symlinks=True)
            child = os.fork()
            if child == 0:
                try:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
                    os._exit(act(action, self.scratch, home))
                finally:
                    os._exit(99)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            yield Run(
                action, "file size limit", f"{limit_bytes} B", self.names.get(status, str(status)), self._judge(home, old, new, status)
            )
            shutil.rmtree(home)

    def on_small_disks(self, action: str, steps: int = 60) -> Iterator[Run]:
        """Use real file systems that are a little larger each time, until one is large enough; none where that is not permitted."""
        old, new = self._known(action)
        disk = self.scratch / "disk"
        disk.mkdir(exist_ok=True)
        for step in range(1, steps + 1):
            if not _mount(disk, 200_000 + 40 * _TMPFS_STEP_BYTES + step * _TMPFS_STEP_BYTES):
                return
            try:
                home = disk / "home"
                shutil.copytree(self.scratch / f"template-{action}", home, symlinks=True)
                filler = disk / "filler"
                filler.write_bytes(bytes(max(0, _free_bytes(disk) - step * _TMPFS_STEP_BYTES)))
                child = os.fork()
                if child == 0:
                    try:
                        os._exit(act(action, self.scratch, home))
                    finally:
                        os._exit(99)
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                filler.unlink()
                yield Run(
                    action, "full tmpfs", f"{step * 4} KiB free", self.names.get(status, str(status)), self._judge(home, old, new, status)
                )
            finally:
                subprocess.run(["umount", str(disk)], check=True)
            if status == DONE:
                return


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _mount(folder: Path, size_bytes: int) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def every_run(bench: Bench, every: int, disks: int = 60, actions: Sequence[str] = ()) -> Iterator[Run]:
    """All runs, or a sample of them.

    Args:
        bench: where.
        actions: what to break; all where none is named.
        every: break only each N-th call.
        disks: try at most so many small disks for each action.
    """
    for index, action in enumerate(actions or ACTIONS):
        for fault in Fault:
            yield from bench.runs(action, fault, every, index)
        yield from bench.limited(action)
        yield from bench.on_small_disks(action, disks)


def main() -> int:
    """Run, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="break only each N-th call")
    parser.add_argument("--action", action="append", default=[], choices=[*ACTIONS], help="break only this")
    args = parser.parse_args()
    traced = can_trace()
    print("each system call on the file system" if traced else "no ptrace here: each step with a Python audit event")
    counts: Counter[tuple[str, str]] = Counter()
    found: Counter[tuple[str, str, str]] = Counter()
    bad: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="hubserve-faults-") as scratch:
        for run in every_run(Bench(Path(scratch), traced), args.every, actions=args.action):
            counts[run.action, run.fault] += 1
            found[run.action, run.fault, run.found if run.found in ("old", "new") else "third"] += 1
            if run.found not in ("old", "new") or run.crashed:
                bad.append(run)
    print(f"{'action':<28} {'fault':<24} {'runs':>5} {'old':>5} {'new':>5} {'third':>5}")
    for action, fault in counts:
        row = [found[action, fault, each] for each in ("old", "new", "third")]
        print(f"{action:<28} {fault:<24} {counts[action, fault]:>5} {row[0]:>5} {row[1]:>5} {row[2]:>5}")
    print(f"{sum(counts.values())} runs, {len(bad)} left anything but the old state or the new")
    for run in bad[:20]:
        print(run)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
