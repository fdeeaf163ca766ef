"""How long installing takes beyond what the module itself needs: the default classifier from an index, and again where all is there.

python bench/install.py --rounds 5
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AIMS_S = {"from an index": 3.0, "its environment is there": 2.0}


def main() -> int:
    """Measure, print, and compare with the aims."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="installs of each, of which medians are shown (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measured = measure(Path(scratch), args.rounds)
    if args.json:
        print(json.dumps(measured, indent=2))
    else:
        for name, seconds in measured.items():
            aim = f" (aim: under {AIMS_S[name]:g})" if name in AIMS_S else ""
            print(f"{name}: {seconds:.2f} s{aim}")
    return int(any(measured[name] > aim for name, aim in AIMS_S.items()))


def measure(scratch: Path, rounds: int) -> dict[str, float]:
    """Return medians in seconds of whole commands; of the first two, the import is the time that the module itself needs."""
    index, home = scratch / "index", scratch / "home"
    hub(home, "publish", str(ROOT / "hubmodules" / "clas"), "--index", str(index))
    picky = scratch / "picky"
    picky.mkdir()
    (picky / "module.py").write_text(
        'import six\nfrom hubserve.module import moduleinfo, serving\n\n\n@moduleinfo(name="picky", version="1.0.0")\nclass Picky:\n'
        "    @serving\n    def version(self):\n        return six.__version__\n"
    )
    (picky / "requirements.txt").write_text("six==1.16.0\n")
    hub(home, "install", "--isolated", str(picky))
    times: dict[str, list[float]] = {"import alone": [], "from an index": [], "its environment is there": []}
    for _ in range(rounds):
        check = ["--check", str(ROOT / "hubmodules" / "clas"), "--import-name", "clas_system"]
        times["import alone"].append(timed([sys.executable, "-m", "hubserve.instance", *check], home))
        times["from an index"].append(hub(home, "install", "clas_system", "--index", str(index)))
        times["its environment is there"].append(hub(home, "install", "--isolated", str(picky)))
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def hub(home: Path, *arguments: str) -> float:
    """Run a command of ``hub``; returns its seconds."""
    return timed([sys.executable, "-m", "hubserve", *arguments], home)


def timed(command: list[str], home: Path) -> float:
    """Run a command; returns its seconds."""
    start = time.perf_counter()
    subprocess.run(command, env={**os.environ, "HUB_HOME": str(home)}, cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
