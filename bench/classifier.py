"""Images per second through the server against the raw predictor: same engine, same core, one run.

The gateway and its one instance share one core; so does the raw predictor, in a process of its own and at another time. Clients run on the
remaining cores and send batches, several at once, for a fixed time. Rounds alternate, and medians are compared.

    python bench/classifier.py --engine openvino --batch-sizes 1,8
"""

import argparse
import base64
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "inference"
WARM_UP_S = 1.0


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="images/s of clas_system through the server against the raw predictor")
    parser.add_argument("--engine", default="openvino", help="paddle, openvino or onnxruntime (default %(default)s)")
    parser.add_argument("--batch-sizes", default="1,8", help="images in a request (default %(default)s)")
    parser.add_argument("--payload", default="base64", choices=PAYLOADS, help="how images are sent (default %(default)s)")
    parser.add_argument("--connections", type=int, default=4, help="requests in flight (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each, alternating (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=4, help="length of a round (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--raw", type=int, metavar="BATCH", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.raw:
        return run_raw(args.engine, args.raw, args.seconds)
    rows = [measure(args, int(size)) for size in args.batch_sizes.split(",")]
    report(rows, args)
    return 0


def measure(args: argparse.Namespace, batch_size: int) -> dict[str, float]:
    """Return a row of medians of the alternating rounds."""
    cores = sorted(os.sched_getaffinity(0))
    served, raw = [], []
    with server(args.engine, cores[0]) as port:
        # the client must not take time from what is measured
        os.sched_setaffinity(0, set(cores[1:]) or set(cores))
        for _ in range(args.rounds):
            served.append(run_clients(port, args.payload, batch_size, args.connections, args.seconds))
            raw.append(run_raw_process(args.engine, batch_size, args.seconds, cores[0]))
        os.sched_setaffinity(0, set(cores))
    through, alone = statistics.median(served), statistics.median(raw)
    return {"batch": batch_size, "raw": alone, "served": through, "ratio": through / alone}


@contextmanager
def server(engine: str, core: int) -> Iterator[int]:
    """Start a server with one instance of the classifier, all on one core; yield its port."""
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, str(ROOT))
        from tests.conftest import Server, free_port

        port = free_port()
        init_args = {"directory": str(ROOT / "hubmodules" / "clas"), "engine": engine, "inference_model_dir": str(MODEL)}
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"modules_info": {"clas_system": {"init_args": init_args}}, "port": port}))
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        running = Server(["-c", str(config)], port, Path(folder) / "home", Path(folder) / "log")
        os.sched_setaffinity(0, before)
        try:
            running.wait_until_ready()
            yield port
        finally:
            running.process.send_signal(signal.SIGTERM)
            running.process.wait(60)


class Body(NamedTuple):
    """Body and headers of a request.

    Attributes:
        content: the body.
        headers: HTTP's.
        path: of the URL.
        marker: bytes that only a correct answer contains.
    """

    content: bytes
    headers: dict[str, str]
    path: str = "/predict/clas_system"
    marker: bytes = b'{"status":"000"'


def base64_body(batch_size: int) -> Body:
    """Return PaddleHub's form: JSON with one base64 array."""
    array = sample(batch_size)
    images = base64.b64encode(array.tobytes()).decode()
    body = json.dumps({"images": images, "revert_params": {"shape": list(array.shape), "dtype": "float32"}}).encode()
    return Body(body, {"Content-Type": "application/json"})


def raw_body(batch_size: int) -> Body:
    """Return the array's bytes, described by headers."""
    array = sample(batch_size)
    shape = ",".join(map(str, array.shape))
    return Body(array.tobytes(), {"Content-Type": "application/octet-stream", "X-Hub-Shape": shape, "X-Hub-Dtype": "float32"})


def v2_body(batch_size: int) -> Body:
    """Return a binary tensor of the Open Inference Protocol; the scores come back in binary, too."""
    array = sample(batch_size)
    tensor = {"name": "x", "shape": array.shape, "datatype": "FP32", "parameters": {"binary_data_size": array.nbytes}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Body(head + array.tobytes(), headers, "/v2/models/clas_system/infer", b'"binary_data_size"')


def jpeg_body(batch_size: int) -> Body:
    """Return a JPEG photo of 451 x 300 pixels, or several in one multipart body."""
    from skimage import data

    from hubserve.vision.codecs import decode_picture, encode_picture

    photo = encode_picture(decode_picture((Path(data.__file__).parent / "chelsea.png").read_bytes()), ".jpg", 90)
    if batch_size == 1:
        return Body(photo, {"Content-Type": "image/jpeg"})
    head = b'--cut\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n' + b"Content-Type: image/jpeg\r\n\r\n"
    return Body((head + photo + b"\r\n") * batch_size + b"--cut--\r\n", {"Content-Type": "multipart/form-data; boundary=cut"})


PAYLOADS = {"base64": base64_body, "raw": raw_body, "v2": v2_body, "jpeg": jpeg_body}


def run_clients(port: int, payload: str, batch_size: int, connections: int, seconds: float) -> float:
    """Measure images per second in a closed loop."""
    body = PAYLOADS[payload](batch_size)
    start = time.perf_counter() + WARM_UP_S
    counts = [0] * connections

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while time.perf_counter() < start + seconds:
            connection.request("POST", body.path, body.content, body.headers)
            answer = connection.getresponse().read()
            if body.marker not in answer:
                raise SystemExit(f"a request failed: {answer[:300]!r}")
            counts[number] += start <= time.perf_counter() < start + seconds
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) * batch_size / seconds


def run_raw_process(engine: str, batch_size: int, seconds: float, core: int) -> float:
    """Measure images per second of the engine alone, in a separate process on one core."""
    command = [sys.executable, __file__, "--engine", engine, "--raw", str(batch_size), "--seconds", str(seconds)]
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        os.sched_setaffinity(0, before)
    return float(done.stdout.split()[-1])


def run_raw(engine: str, batch_size: int, seconds: float) -> int:
    """Compute the same batch repeatedly, in the raw predictor's own process."""
    from hubserve.engines import EngineOptions, load_engine

    loaded = load_engine(MODEL, engine, EngineOptions(cpu_num_threads=1))
    inputs = {loaded.inputs[0].name: sample(batch_size)}
    start = time.perf_counter() + WARM_UP_S
    count = 0
    while (now := time.perf_counter()) < start + seconds:
        loaded.run(inputs)
        count += now >= start
    print(count * batch_size / (time.perf_counter() - start))
    return 0


def sample(batch_size: int) -> np.ndarray:
    """Return a batch of noise, equal in every run."""
    return np.random.default_rng(0).standard_normal((batch_size, 3, 224, 224), np.float32)


def report(rows: list[dict[str, float]], args: argparse.Namespace) -> None:
    """Print the results."""
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    how = f"{args.payload} bodies, one core, {args.connections} connections, medians of {args.rounds} rounds"
    table = Table(title=f"clas_system, engine {args.engine}, {how}")
    for column in ("images in a request", "raw predictor, images/s", "through the server, images/s", "ratio"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(f"{row['batch']:.0f}", f"{row['raw']:.1f}", f"{row['served']:.1f}", f"{row['ratio']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
