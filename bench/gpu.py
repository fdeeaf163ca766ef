"""A TorchScript model on a GPU: images per second through gRPC, and of the same file in a loop without a server.

    python bench/gpu.py

Needs PyTorch with CUDA and tritonclient.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import tritonclient.grpc as triton
from stress.server import free_port, running_server
from torch import nn

from tests.torch_models import save

SIZE = 224
#: processes that the clients' connections are spread over
CLIENTS = 8
CONFIG = """
name: "net" platform: "pytorch_libtorch" max_batch_size: 64 dynamic_batching { }
input [ { name: "x" data_type: TYPE_UINT8 dims: [ 3, 224, 224 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1000 ] } ]
instance_group [ { kind: KIND_GPU count: 2 } ]
"""


class Block(nn.Module):
    """Two convolutions and what goes around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the same shape."""
        return torch.relu(x + self.body(x))


class Net(nn.Module):
    """A residual network with the cost of a ResNet-18: ``x`` uint8 [n, 3, 224, 224] -> [n, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, stride=2, padding=3), nn.ReLU(), nn.MaxPool2d(2)]
        for width, following in ((64, 128), (128, 256), (256, 512), (512, 0)):
            layers += [Block(width), Block(width)]
            layers += [nn.Conv2d(width, following, 3, stride=2, padding=1)] if following else []
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(512, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a score for each class."""
        return self.head(self.body(x.float() / 255).mean(dim=[2, 3]))


def raw_rate(file: Path, batch: int, seconds: float) -> float:
    """Return the images per second of a loop that copies to the GPU, computes, and copies back."""
    script = torch.jit.load(str(file), map_location="cuda").eval()
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (batch, 3, SIZE, SIZE), np.uint8))
    with torch.inference_mode():
        for _ in range(5):
            script(images.cuda()).cpu()
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            script(images.cuda()).cpu()
            count += batch
        return count / (time.perf_counter() - begin)


def ask(port: int, connections: int, seconds: float) -> int:
    """Send one picture after another over each of some connections; return how many were answered."""
    image = np.random.default_rng(0).integers(0, 255, (1, 3, SIZE, SIZE), np.uint8)
    counts, end = [0] * connections, time.perf_counter() + seconds

    def work(index: int) -> None:
        given = triton.InferInput("x", list(image.shape), "UINT8")
        given.set_data_from_numpy(image)
        with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            while time.perf_counter() < end:
                client.infer("net", [given])
                counts[index] += 1

    threads = [threading.Thread(target=work, args=(index,)) for index in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def served_rate(clients: Executor, port: int, connections: int, seconds: float) -> float:
    """Return the images per second of clients in up to :data:`CLIENTS` processes."""
    shares = [len(range(index, connections, CLIENTS)) for index in range(min(CLIENTS, connections))]
    return sum(clients.map(ask, repeat(port), shares, repeat(seconds))) / seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="TorchScript on a GPU, served and in a loop")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = save(Path(folder) / "store" / "net" / "1" / "model.pt", Net())
        (Path(folder) / "store" / "net" / "config.pbtxt").write_text(CONFIG)
        port = free_port()
        with (
            ProcessPoolExecutor(CLIENTS, get_context("spawn")) as clients,
            running_server({}, model_store=[f"{folder}/store"], grpc_port=port),
        ):
            served_rate(clients, port, 32, 2)
            for _ in range(args.rounds):
                for connections in (1, 8, 32, 64):
                    rates.setdefault(f"served, {connections} connections", []).append(served_rate(clients, port, connections, args.seconds))
                for batch in (1, 8, 32):
                    rates.setdefault(f"raw loop, batch {batch}", []).append(raw_rate(file, batch, args.seconds))
    print(json.dumps({name: round(statistics.median(each)) for name, each in rates.items()}, indent=1))


if __name__ == "__main__":
    main()
