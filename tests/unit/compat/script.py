"""Run scripts with an importable ``paddlehub``, as in an instance."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.conftest import ROOT


def run_script(script: str, home: Path, **environ: str) -> str:
    """Run a script, and return its output."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "hubserve" / "compat")])
    environment = {**os.environ, "PYTHONPATH": path, "HUB_HOME": str(home), **environ}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
