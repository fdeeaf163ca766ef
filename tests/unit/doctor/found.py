"""Helpers of tests of findings."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from hubserve.doctor.findings import Finding
from tests.conftest import ROOT


def the(findings: Iterable[Finding], about: str) -> Finding:
    """Return the only finding about something; fail if there is none, or more than one."""
    findings = list(findings)
    found = [each for each in findings if about in each.about]
    assert len(found) == 1, findings
    return found[0]


def worse_than_notes(findings: Iterable[Finding]) -> list[Finding]:
    return [each for each in findings if each.level != "note"]


def without_engines(folder: Path, *arguments: str, home: Path) -> "subprocess.CompletedProcess[str]":
    """Run Python in an environment that has every package of this one except the engines.

    Args:
        folder: the environment's folder.
        arguments: Python's.
        home: hub's.
    """
    packages = folder / "packages"
    packages.mkdir()
    for each in Path(sysconfig.get_path("purelib")).iterdir():
        if not each.name.lower().startswith(("paddle", "openvino", "onnxruntime", "torch")):
            (packages / each.name).symlink_to(each)
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{packages}", "HUB_HOME": str(home)}
    return subprocess.run([sys.executable, "-S", *arguments], env=environ, capture_output=True, text=True, timeout=60, check=False)
