"""Build one environment in a separate process: build_one.py HOME REQUIREMENT [KILLED_AT]; print its key and whether it was built.

The process is killed with SIGKILL at the step KILLED_AT.
"""

import os
import signal
import sys
from pathlib import Path

from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.module_requirements import Needs
from hubserve.registry.environments.provision import provide
from hubserve.registry.environments.requirements import Requirements


def main(home: Path, requirement: str, killed_at: str) -> None:
    def progress(step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
        if killed_at and step.startswith(killed_at):
            os.kill(os.getpid(), signal.SIGKILL)

    found, built = provide(home, Needs(Requirements((requirement,))), Options(), timeout_s=60, progress=progress)
    print(found and found.key, built, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "")
