"""Triton's perf_analyzer against hubserve: HTTP and gRPC, binary and JSON tensors, with and without shared memory, and over a stream.

The binary comes from PyPI (`pip install perf-analyzer`), for glibc 2.38 or later. Where the system is older, `--fetch` puts it into a
folder together with the libraries of Debian 13 that it needs, by pip and apt-get; `--tools` runs it from there.

    python bench/perf_analyzer.py
    python bench/perf_analyzer.py --fetch --tools .perf_analyzer
"""

import argparse
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 300
LOADER = "ld-linux-x86-64.so.2"
#: what the binary is linked against
PACKAGES = ("libc6", "libstdc++6", "libgcc-s1", "libssl3t64", "libzstd1", "zlib1g")
SHARED_MEMORY = ["--shared-memory", "system", "--output-shared-memory-size", str(1 << 20)]
#: protocol -> what to ask of it
VARIANTS = {
    "http": {
        "binary": [],
        "JSON": ["--input-tensor-format", "json", "--output-tensor-format", "json"],
        "shared memory": SHARED_MEMORY,
    },
    "grpc": {"raw": [], "stream": ["--streaming"], "shared memory": SHARED_MEMORY},
}


def main() -> int:
    """Measure and print the table; fails if a run does."""
    parser = argparse.ArgumentParser(description="perf_analyzer against every form of the Open Inference Protocol")
    parser.add_argument("--tools", type=Path, default=ROOT / ".perf_analyzer", help="folder of --fetch (default %(default)s)")
    parser.add_argument("--fetch", action="store_true", help="fetch the binary and the libraries that it needs into --tools first")
    parser.add_argument("--floats", default="16,150528", help="floats in a tensor (default %(default)s)")
    parser.add_argument("--concurrency", type=int, default=8, help="requests in flight (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="length of a window (default %(default)s)")
    args = parser.parse_args()
    if args.fetch:
        fetch(args.tools)
    command = find(args.tools)
    if command is None:
        print("there is no perf_analyzer that runs here; fetch it with --fetch", file=sys.stderr)
        return 2
    sys.path.insert(0, str(ROOT))
    from bench.v2_grpc import server

    table, failed = Table("protocol", "form", "bytes", "requests/s", "p50 ms", "p99 ms"), False
    with server(workers=1, shared_memory=True) as addresses:
        for protocol, address in zip(VARIANTS, addresses, strict=True):
            for form, options in VARIANTS[protocol].items():
                for floats in map(int, args.floats.split(",")):
                    row, text = measure(command, protocol, address, floats, args.concurrency, args.seconds, options)
                    if not row:
                        failed = True
                        print(text, file=sys.stderr)
                    table.add_row(protocol, form, f"{4 * floats}", *(row or ["failed"]))
    Console().print(table)
    return int(failed)


def measure(
    command: list[str], protocol: str, address: str, floats: int, concurrency: int, seconds: float, options: list[str]
) -> tuple[list[str], str]:
    """Run perf_analyzer once.

    Returns:
        Requests/s and two percentiles of the latency in ms, empty if it failed; and what it printed.
    """
    asked = ["-m", "echo", "-i", protocol, "-u", address, "--shape", f"x:{floats}", "-b", "1", "--concurrency-range", str(concurrency)]
    # a run fails where windows differ by more than this, and the machine may be anything but quiet
    windows = ["--measurement-interval", f"{seconds * 1e3:.0f}", "--stability-percentage", "999", "--max-trials", "5"]
    run = subprocess.run([*command, *asked, *windows, *options], capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    text = run.stdout + run.stderr
    rate = re.search(r"Throughput: ([\d.]+) infer/sec", text)
    p50, p99 = (re.search(rf"p{each} latency: (\d+) usec", text) for each in (50, 99))
    if run.returncode or not (rate and p50 and p99):
        return [], text
    return [f"{float(rate[1]):.0f}", *(f"{int(each[1]) / 1e3:.2f}" for each in (p50, p99))], text


def find(tools: Path) -> list[str] | None:
    """Return the command that runs perf_analyzer, if need be by the loader from the folder of ``--fetch``; None if neither runs."""
    loader = tools / "lib" / LOADER
    candidates = [[str(loader), "--library-path", str(loader.parent), str(tools / "perf_analyzer" / "bin" / "perf_analyzer")]]
    installed = shutil.which("perf_analyzer", path=str(Path(sys.executable).parent)) or shutil.which("perf_analyzer")
    if installed:
        candidates.insert(0, [installed])
    return next((each for each in candidates if _runs(each)), None)


def _runs(command: list[str]) -> bool:
    try:
        told = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return False
    return "Perf Analyzer Version" in told.stdout + told.stderr  # the launcher of the package ends with 0 even if the binary does not start


def fetch(tools: Path) -> None:
    """Put the binary and its libraries into a folder: pip and apt-get are asked, nothing is installed."""
    tools.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(tools)]
    subprocess.run([*pip, "--platform", "manylinux_2_38_x86_64", "perf-analyzer"], check=True)
    for wheel in tools.glob("perf_analyzer-*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tools)
    (tools / "perf_analyzer" / "bin" / "perf_analyzer").chmod(0o755)
    _fetch_libraries(tools / "apt", tools / "lib")


def _fetch_libraries(apt: Path, libraries: Path) -> None:
    for folder in ("etc/preferences.d", "lists/partial", "archives/partial", "root"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (apt / "etc" / "sources.list").write_text(f"deb [signed-by={keys}] http://deb.debian.org/debian trixie main\n")
    (apt / "status").touch()
    options = {
        "Dir::Etc": apt / "etc",
        "Dir::Etc::sourcelist": apt / "etc" / "sources.list",
        "Dir::State": apt,
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt,
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "",
    }
    command = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    subprocess.run([*command, "update"], check=True)
    subprocess.run([*command, "download", *PACKAGES], check=True, cwd=apt)
    for package in apt.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(apt / "root")], check=True)
    libraries.mkdir(exist_ok=True)
    for file in (apt / "root").rglob("*.so*"):
        if file.is_file() and file.parent.name == "x86_64-linux-gnu":
            shutil.copy(file, libraries / file.name)
    shutil.copy(next((apt / "root").rglob(LOADER)), libraries / LOADER)


if __name__ == "__main__":
    sys.exit(main())
