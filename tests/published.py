"""Modules written as published PaddleHub modules are, with weights made on the spot."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import MODULES, ROOT


def make_published(folder: Path) -> Path:
    """Copy the modules into a folder, and make their weights there."""
    shutil.copytree(MODULES / "published", folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    command = [sys.executable, str(ROOT / "tests" / "published_weights.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder
