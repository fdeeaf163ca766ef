"""A failure, Ctrl-C, ``kill -9`` or full disk at any step leaves the old state or the new, and the next command cleans up."""

from collections import defaultdict
from pathlib import Path

import pytest

from tests.unit.registry.faults import ACTIONS, Bench, every_run
from tests.unit.registry.tracing import Fault, can_trace, run_with_fault, run_with_hook


@pytest.mark.slow
def test_broken_anywhere_it_leaves_the_old_state_or_the_new(tmp_path: Path) -> None:
    """A sample; ``make faults`` breaks every step."""
    found = defaultdict(set)
    bench = Bench(tmp_path, can_trace())
    runs = list(every_run(bench, 29 if can_trace() else 5, disks=3))
    for run in runs:
        assert run.found in ("old", "new"), run
        assert not run.crashed, run
        found[run.action].add(run.found)
    assert set(found) == set(ACTIONS)
    assert all("old" in each for each in found.values())
    assert {run.fault for run in runs} >= {each.value for each in Fault}
    assert len(runs) > 150


@pytest.mark.slow
def test_without_ptrace_each_audit_event_is_broken(tmp_path: Path) -> None:
    bench = Bench(tmp_path, traced=False)
    runs = [run for action in ("first install", "roll files back") for fault in Fault for run in bench.runs(action, fault, 7)]
    assert {run.found for run in runs} == {"old", "new"}
    assert len(runs) > 20


def test_once_it_is_new_it_stays_new(tmp_path: Path) -> None:
    runs = list(Bench(tmp_path, traced=False).runs("same version again", Fault.KILL, 2))
    states = [run.found for run in runs]
    assert states == sorted(states, key=["old", "new"].index)
    assert set(states) == {"old", "new"}


def test_the_fault_is_where_it_was_asked_for(tmp_path: Path) -> None:
    def act() -> int:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        return 0

    for run in [run_with_hook, *([run_with_fault] if can_trace() else [])]:
        call, status = run(act, 2, Fault.KILL)
        assert (call.removeprefix("os."), status) == ("mkdir", -9)
        assert [each.name for each in tmp_path.iterdir()] == ["a"]
        (tmp_path / "a").rmdir()
