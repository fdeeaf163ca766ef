"""hubserve itself, as it lies in this checkout."""

import json
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.peers.exchange import Request
from bench.peers.servers.base import JSON, MODEL, MODULES, ROOT, VALUES, Classifying, Launch, Peer, check_values, read_json, worker_environ
from bench.peers.servers.base64_json import images_request
from bench.peers.servers.triton import tensor_request, write_classifier_model, write_tensor_model


class Hubserve(Peer):
    """Hubserve in this interpreter."""

    title = "hubserve"

    def engines(self, engine: str) -> Sequence[str]:
        """Return the engine that the others run, and ``auto``."""
        return list(dict.fromkeys([engine, "auto"]))

    def do_nothing(self, workers: int, port: int, folder: Path) -> Launch:
        """Serve a method that returns its argument."""
        request = Request(
            "/predict/do_nothing",
            JSON,
            json.dumps({"values": VALUES}).encode(),
            lambda answer: check_values(read_json(answer, "results")),
            b'"status":"000"',
        )
        return self._launch("do_nothing", {"directory": str(MODULES / "do_nothing")}, workers, port, folder, request)

    def classifier(self, work: Classifying, port: int, folder: Path) -> Launch:
        """Serve hubmodules/clas with its default model."""
        init_args = {
            "directory": str(ROOT / "hubmodules" / "clas"),
            "engine": work.engine,
            "inference_model_dir": str(MODEL),
            "cpu_num_threads": 1,
        }
        request = images_request("/predict/clas_system", work.images, "results", "prediction")
        return self._launch("clas_system", init_args, work.workers, port, folder, request)

    def engine_in_use(self, port: int) -> str | None:
        """Return the engine that ``auto`` chose."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=10) as answer:
            module = json.load(answer)["modules"][0]
        return str(module["engine"]["name"]) if module["engine"] else None

    def _launch(self, module: str, init_args: dict[str, Any], workers: int, port: int, folder: Path, request: Request) -> Launch:
        config = folder / "config.json"
        config.write_text(json.dumps({"modules_info": {module: {"init_args": init_args, "workers": workers}}, "port": port}))
        return _start(["-c", str(config)], folder, request)


class HubserveRepository(Hubserve):
    """hubserve, where it serves the model repository that Triton serves."""

    def tensors(self, size_bytes: int, workers: int, port: int, folder: Path) -> Launch:
        """Serve the same model; send requests in the binary form."""
        request = tensor_request(write_tensor_model(folder, size_bytes, workers))
        return _start(["--model-store", str(folder / "models"), "--port", str(port)], folder, request)

    def repository(self, work: Classifying, delay_us: int, port: int, folder: Path) -> Launch:
        """Serve the classifier from a Triton repository, with requests in the same form."""
        request = write_classifier_model(folder, work, delay_us)
        return _start(["--model-store", str(folder / "models"), "--port", str(port)], folder, request, worker_environ(work))


def _start(options: list[str], folder: Path, request: Request, environ: dict[str, str] | None = None) -> Launch:
    command = [sys.executable, "-m", "hubserve", "serving", "start", *options]
    # the home keeps the engine that "auto" found to be the fastest, as it does for users from one start to the next
    home = folder.parent / "hubserve-home"
    return Launch(command, {**(environ or {}), "PYTHONPATH": str(ROOT), "HUB_HOME": str(home)}, request, "/health/ready")
