"""Pictures per second through the OCR module over HTTP against its three networks alone: same engine, same threads, one run.

The networks alone compute exactly the arrays that the module gives them for the picture, and nothing else: no decoding, no boxes, no crops,
no server. The difference is what all of that costs. Rounds alternate, and medians are compared.

    python bench/ocr.py --engine openvino --image_file page.png
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from hubserve.kinds import get_kind
from hubserve.vision import decode_picture

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "hubmodules" / "ocr"
_START_S = 300


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="pictures/s of ocr_system over HTTP against its networks alone")
    parser.add_argument("--engine", default="openvino", help="paddle, openvino or onnxruntime (default %(default)s)")
    parser.add_argument("--image_file", type=Path, help="a picture (default: scikit-image's page)")
    parser.add_argument("--connections", type=int, default=2, help="requests in flight (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each, alternating (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=4, help="length of a round (default %(default)s)")
    args = parser.parse_args()
    content = (args.image_file or page()).read_bytes()
    alone = networks_alone(args.engine, content)
    raw, served = [], []
    with server(args.engine) as url:
        post = lambda: requests.post(url, data=content, headers={"Content-Type": "image/png"}, timeout=60).json()["results"]  # noqa: E731
        lines = len(post()[0])
        for _ in range(args.rounds):
            raw.append(rate(alone, 1, args.seconds))
            served.append(rate(post, args.connections, args.seconds))
    ratio = statistics.median(served) / statistics.median(raw)
    print(f"{args.engine}, 1 thread, {lines} lines in the picture, medians of {args.rounds} rounds of {args.seconds:g} s")
    print(f"networks alone   {statistics.median(raw):6.2f} pictures/s   ({', '.join(f'{each:.2f}' for each in raw)})")
    print(f"over HTTP        {statistics.median(served):6.2f} pictures/s   ({', '.join(f'{each:.2f}' for each in served)})")
    print(f"ratio            {ratio:6.2f}")
    return 0


def page() -> Path:
    """Return scikit-image's photo of a printed page."""
    from skimage import data

    return Path(data.__file__).parent / "page.png"


def networks_alone(engine: str, content: bytes) -> Any:
    """Return a function that computes all that the three networks compute for one picture."""
    module: Any = get_kind("paddlehub").load(MODULE, "ocr_alone", {"engine": engine, "cpu_num_threads": 1}, {}).module
    calls: list[tuple[Any, Any]] = []

    def recorded(network: Any) -> Any:
        def call(array: Any) -> Any:
            calls.append((network, array))
            return network(array)

        return call

    plain = module.networks
    module.networks = type(plain)(*map(recorded, plain))
    module.read([decode_picture(content)], drop_score=0.5)  # with options a reader is made anew, of these networks
    return lambda: [network(array) for network, array in calls]


def rate(call: Any, connections: int, seconds: float) -> float:
    """Measure calls per second."""
    counts = [0] * connections
    call()
    start = time.monotonic()

    def work(number: int) -> None:
        while time.monotonic() - start < seconds:
            call()
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - start)


@contextmanager
def server(engine: str) -> Iterator[str]:
    """Start a server with one instance on a free port; yield the module's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    init_args = {"directory": str(MODULE), "engine": engine, "cpu_num_threads": 1}
    config = {"modules_info": {"ocr_system": {"init_args": init_args, "workers": 1}}, "port": port}
    with tempfile.TemporaryDirectory(prefix="hubserve-ocr-") as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        command = [sys.executable, "-m", "hubserve", "serving", "start", "-c", str(Path(folder) / "config.json")]
        environ = {**os.environ, "HUB_HOME": folder, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until_ready(process, f"http://127.0.0.1:{port}/health/ready")
            yield f"http://127.0.0.1:{port}/predict/ocr_system"
        finally:
            process.terminate()
            process.wait(30)


def wait_until_ready(process: "subprocess.Popen[bytes]", url: str) -> None:
    """Wait for the module; give up if the server ends."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit("the server ended; start it by hand to see why: hub serving start -c deploy/ocr.json")
        try:
            if requests.get(url, timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.05)
    sys.exit(f"the server was not ready within {_START_S} s")


if __name__ == "__main__":
    sys.exit(main())
