"""No requirements file can make pip or uv look at an address or path that it names."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.examples import examples


@pytest.mark.hypothesis
def test_no_address_and_no_path_of_a_requirements_file_reaches_a_command() -> None:
    command = [sys.executable, "-m", "tests.unit.registry.environments.requirements_fuzz", "--files", str(examples(100))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 got through" in done.stdout
