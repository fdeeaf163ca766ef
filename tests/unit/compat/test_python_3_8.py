"""Test the compatibility package in the environment of an old module: Python 3.8, an old numpy, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import MODULES, ROOT
from tests.unit.compat.test_published_imports import LINES
from tests.unit.test_architecture import find_python

pytestmark = pytest.mark.slow  # its numpy comes from a package index


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with that numpy."""
    if find_python("3.8") is None:
        pytest.skip("this machine has no Python 3.8")
    folder = tmp_path_factory.mktemp("packages")
    what = ["--python-version", "3.8", "--only-binary", ":all:", "--no-deps", "numpy==1.24.4"]
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), *what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the package index does not answer: {done.stderr[-200:]}")
    return folder


def run_old(packages: Path, *arguments: object, home: Path) -> str:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(packages)]), "HUB_HOME": str(home)}
    command = [str(find_python("3.8")), "-W", "error", *map(str, arguments)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_imports_and_what_needs_only_numpy_works(packages: Path, home: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nimport numpy as np\n"
        + LINES
        + "from paddlehub.utils.version import Version\n"
        + "picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)\n"
        + "made = T2.Compose([T2.CenterCrop(2), T2.Normalize()])(picture)\n"
        + "print(sys.version_info[:2], np.__version__, made.shape, made.dtype, Version('1.10') > '1.9')\n"
        + "print(T2.LAB2RGB()(np.zeros((1, 3, 2, 2))).shape)\n"
    )
    script.write_text(script.read_text().replace("import paddlehub.vision.transforms as T\n", "import paddlehub.vision.transforms as T2\n"))
    printed = run_old(packages, "-m", "hubserve.compat", script, home=home)
    assert printed.splitlines() == ["(3, 8) 1.24.4 (3, 2, 2) float32 True", "(1, 3, 2, 2)"]


def test_an_old_module_is_loaded_and_run_there(packages: Path, home: Path) -> None:
    assert "cba" in run_old(
        packages, "-m", "hubserve.instance", "--run", MODULES / "old_style", "--import-name", "old_style", "abc", home=home
    )
    code = f"import hubserve.compat, paddlehub as hub; m = hub.Module(directory={str(MODULES / 'old_style')!r}, prefix='>')\n"
    code += "print(m.serving_method(['ab']))"
    assert run_old(packages, "-c", code, home=home).strip() == "[{'text': 'ba', 'prefix': '>'}]"
