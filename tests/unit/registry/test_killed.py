"""A power cut or ``kill -9`` at any step leaves the old state or the new, and the next command cleans up."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [("first install", "none", "new"), ("replace", "old", "new"), ("uninstall", "old", "none"), ("uninstall version", "old", "none")],
)
def test_killed_before_any_of_its_steps_it_leaves_the_old_or_the_new(tmp_path: Path, action: str, before: str, after: str) -> None:
    command = [sys.executable, "-m", "tests.unit.registry.kill_everywhere", str(tmp_path), action]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    killed, finished = reports[:-1], reports[-1]
    assert len(killed) >= 10, "it was killed at many steps"
    assert all(each["killed"] for each in killed)
    assert (finished["killed"], finished["found"]) == (False, after)
    states = [each["found"] for each in reports]
    assert set(states) == {before, after}
    assert states == sorted(states, key=[before, after].index), "once it is new it stays new"
    for each in reports:
        assert each["later"] == each["found"]
        assert each["left"] == []
