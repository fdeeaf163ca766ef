"""Triton 2.51 with its Python backend: the server that the wheel nvidia-pytriton carries, without pytriton around it."""

import json
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.peers.environments import Environment
from bench.peers.exchange import Request
from bench.peers.failures import CannotRun, WrongAnswer
from bench.peers.servers.base import (
    JSON,
    MODULES,
    VALUES,
    Classifying,
    Launch,
    Peer,
    check_classes,
    check_values,
    engine_requirements,
    read_json,
    worker_environ,
)

_TOP_K = 5
_PLAIN = ("--allow-grpc=false", "--allow-metrics=false", "--log-info=false", "--exit-timeout-secs=5")


class Triton(Peer):
    """Models in modules/triton_*.py, with dynamic batching."""

    title = "Triton 2.51, Python backend"

    @property
    def environment(self) -> Environment:
        """The wheel and the engines; the backend's stub embeds the interpreter."""
        requirements = ("nvidia-pytriton==0.7.0", *engine_requirements())
        return Environment("triton", ("3.11", "3.12", "3.10"), requirements, shared_library=True)

    def do_nothing(self, workers: int, port: int, folder: Path) -> Launch:
        """Serve a model that returns its input; requests are JSON of the v2 protocol."""
        _write_model(folder, "do_nothing", workers, 32, [("VALUES", "TYPE_FP32", [len(VALUES)])], [("RESULT", "TYPE_FP32", [len(VALUES)])])
        tensor = {"name": "VALUES", "shape": [1, len(VALUES)], "datatype": "FP32", "data": VALUES}
        request = Request(
            "/v2/models/do_nothing/infer",
            JSON,
            json.dumps({"inputs": [tensor]}).encode(),
            lambda answer: check_values(_first_output(answer)),
            b'"outputs"',
        )
        return self._launch(port, folder, {}, request)

    def tensors(self, size_bytes: int, workers: int, port: int, folder: Path) -> Launch:
        """Serve the same model; send requests in the binary form."""
        return self._launch(port, folder, {}, tensor_request(write_tensor_model(folder, size_bytes, workers)))

    def classifier(self, work: Classifying, port: int, folder: Path) -> Launch:
        """Serve a model with the engine; arrays are binary both ways, Triton's fastest form over HTTP."""
        return self.repository(work, 0, port, folder)

    def repository(self, work: Classifying, delay_us: int, port: int, folder: Path) -> Launch:
        """Serve the same model with dynamic batching, which may delay requests to form a batch."""
        return self._launch(port, folder, worker_environ(work), write_classifier_model(folder, work, delay_us))

    def _launch(self, port: int, folder: Path, environ: dict[str, str], request: Request) -> Launch:
        python = self.interpreter
        packages = _packages(python.path)
        home = packages / "pytriton" / "tritonserver"
        _place_stub(home, python.version)
        libraries = [packages / "nvidia_pytriton.libs", python.library_folder, *os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)]
        environ = environ | {
            "LD_LIBRARY_PATH": os.pathsep.join(str(each) for each in libraries if each),
            "PATH": os.pathsep.join([str(python.path.parent), os.environ.get("PATH", os.defpath)]),
        }
        places = [f"--model-repository={folder / 'models'}", f"--backend-directory={home / 'backends'}"]
        # servers that run at the same time must not share the names of their shared memory
        listening = ["--http-address=127.0.0.1", f"--http-port={port}", f"--backend-config=python,shm-region-prefix-name=bench_{port}"]
        return Launch([str(home / "bin" / "tritonserver"), *places, *listening, *_PLAIN], environ, request, "/v2/health/ready")


def _packages(python: Path) -> Path:
    found = list(python.parent.parent.glob("lib/python3*/site-packages/pytriton"))
    if not found:
        raise CannotRun(f"the environment of {python} holds no pytriton")
    return found[0].parent


def _place_stub(home: Path, version: str) -> None:
    """Put the program that runs the Python of this version where the backend looks for it."""
    source = home / "python_backend_stubs" / version / "triton_python_backend_stub"
    target = home / "backends" / "python" / source.name
    if not source.is_file():
        raise CannotRun(f"the wheel carries no stub for Python {version}")
    if not target.is_file() or target.stat().st_size != source.stat().st_size:
        shutil.copyfile(source, target)
        target.chmod(target.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


Tensors = Sequence[tuple[str, str, list[int]]]


def _write_model(folder: Path, name: str, workers: int, max_batch_size: int, inputs: Tensors, outputs: Tensors, delay_us: int = 0) -> None:
    """Write a model repository: its configuration, and its code from modules/triton_<name>.py."""
    code = folder / "models" / name / "1"
    code.mkdir(parents=True)
    shutil.copy(MODULES / f"triton_{name}.py", code / "model.py")
    # the stub looks for a model's imports beside it, not on PYTHONPATH
    shutil.copy(MODULES / "classifier_engine.py", code)
    lines = [
        f'name: "{name}"',
        'backend: "python"',
        f"max_batch_size: {max_batch_size}",
        f"dynamic_batching {{ max_queue_delay_microseconds: {delay_us} }}",
        f"instance_group [{{ count: {workers} kind: KIND_CPU }}]",
        *(f'input [{{ name: "{each}" data_type: {kind} dims: {dims} }}]' for each, kind, dims in inputs),
        *(f'output [{{ name: "{each}" data_type: {kind} dims: {dims} }}]' for each, kind, dims in outputs),
    ]
    (code.parent / "config.pbtxt").write_text("\n".join(lines) + "\n")


def write_tensor_model(folder: Path, size_bytes: int, workers: int) -> int:
    """Write a repository at ``folder/models`` with the do-nothing model for tensors of ``size`` bytes; return how many numbers that is."""
    count = size_bytes // 4
    _write_model(folder, "do_nothing", workers, 32, [("VALUES", "TYPE_FP32", [count])], [("RESULT", "TYPE_FP32", [count])])
    return count


def write_classifier_model(folder: Path, work: Classifying, delay_us: int) -> Request:
    """Write a repository with the classifier to ``folder/models``; return a binary request to it."""
    inputs = [("IMAGES", "TYPE_FP32", list(work.images.shape[1:]))]
    outputs = [("CLASS_IDS", "TYPE_INT64", [_TOP_K]), ("SCORES", "TYPE_FP32", [_TOP_K])]
    _write_model(folder, "classifier", work.workers, max(8, len(work.images)), inputs, outputs, delay_us)
    return _binary_request(work.images)


def tensor_request(count: int) -> Request:
    """Return a binary request to that model."""
    values = np.arange(count, dtype="<f4")[None]
    head, headers = _binary_head("VALUES", values, ["RESULT"])

    def check(answer: bytes) -> None:
        if not answer.endswith(values.tobytes()):
            raise WrongAnswer(f"other numbers came back than were sent: {answer[:300]!r}")

    return Request("/v2/models/do_nothing/infer", headers, head + values.tobytes(), check, b'"RESULT"')


def _first_output(answer: bytes) -> list[float]:
    try:
        return list(read_json(answer, "outputs")[0]["data"])
    except (LookupError, TypeError):
        raise WrongAnswer(f"an answer without a first output: {answer[:300]!r}") from None


def _binary_head(name: str, array: np.ndarray, wanted: list[str]) -> tuple[bytes, dict[str, str]]:
    """Return a request in the v2 protocol's binary form: a JSON head, then the array's bytes; a header has the head's length.

    https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md

    Returns:
        The head and the headers.
    """
    tensor = {"name": name, "shape": list(array.shape), "datatype": "FP32", "parameters": {"binary_data_size": array.nbytes}}
    outputs = [{"name": each, "parameters": {"binary_data": True}} for each in wanted]
    head = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    return head, {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}


def _binary_request(images: np.ndarray) -> Request:
    head, headers = _binary_head("IMAGES", images, ["CLASS_IDS", "SCORES"])

    def check(answer: bytes) -> None:
        size = len(images) * _TOP_K
        raw = answer[len(answer) - size * (8 + 4) :][: size * 8]
        if len(raw) != size * 8:
            raise WrongAnswer(f"an answer without the classes and scores: {answer[:300]!r}")
        check_classes(np.frombuffer(raw, "<i8").reshape(-1, _TOP_K)[:, 0].tolist(), len(images))

    return Request("/v2/models/classifier/infer", headers, head + images.tobytes(), check, b'"CLASS_IDS"')
