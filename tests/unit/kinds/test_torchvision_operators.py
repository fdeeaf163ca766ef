"""The import of torchvision, as far as it goes without torch; tests/frameworks has the rest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = """
from hubserve.kinds.torchvision_operators import declare_missing
declare_missing()
declare_missing()
import torchvision
print(torchvision.value)
"""


def run(folder: Path, text: str) -> "subprocess.CompletedProcess[str]":
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(text)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}
    return subprocess.run([sys.executable, "-c", SCRIPT], env=environ, capture_output=True, text=True, check=False)


def test_a_package_that_can_be_imported_is_left_as_it_is(tmp_path: Path) -> None:
    done = run(tmp_path, "value = 3\n")
    assert (done.stdout, done.stderr) == ("3\n", "")


@pytest.mark.parametrize("error", ["RuntimeError('no driver')", "ImportError('operator torchvision::nms does not exist')"])
def test_other_errors_of_its_import_stay_what_they_are(tmp_path: Path, error: str) -> None:
    done = run(tmp_path, f"print('once')\nraise {error}\n")
    assert done.stdout == "once\n"
    assert done.stderr.strip().splitlines()[-1].startswith(error.partition("(")[0])
