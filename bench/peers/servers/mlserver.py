"""MLServer 1.7.1: the v2 protocol in Python, with workers in processes."""

import json
from pathlib import Path

from bench.peers.environments import Environment
from bench.peers.exchange import Request
from bench.peers.failures import CannotRun, WrongAnswer
from bench.peers.servers.base import JSON, MODULES, ONE_THREAD, VALUES, Launch, Peer, check_values, read_json


class MLServer(Peer):
    """A runtime of its own, modules/mlserver_do_nothing.py. Its REST side has no binary form."""

    title = "MLServer 1.7.1"

    @property
    def environment(self) -> Environment:
        """The server; newer event loops than these it does not start with."""
        return Environment("mlserver", ("3.11", "3.12", "3.10"), ("mlserver==1.7.1", "uvloop<0.22"))

    def do_nothing(self, workers: int, port: int, folder: Path) -> Launch:
        """Serve a runtime that returns its input; requests are JSON of the v2 protocol."""
        model = {"name": "do_nothing", "implementation": "mlserver_do_nothing.DoNothing"}
        settings = {"host": "127.0.0.1", "http_port": port, "parallel_workers": workers, "debug": False, "metrics_endpoint": None}
        # it opens these ports, too, and cannot choose free ones itself
        settings |= {"grpc_port": port + 1, "metrics_port": port + 2}
        (folder / "model-settings.json").write_text(json.dumps(model))
        (folder / "settings.json").write_text(json.dumps(settings))
        tensor = {"name": "VALUES", "shape": [1, len(VALUES)], "datatype": "FP32", "data": VALUES}
        request = Request("/v2/models/do_nothing/infer", JSON, json.dumps({"inputs": [tensor]}).encode(), _check, b'"outputs"')
        command = [str(self.interpreter.path.parent / "mlserver"), "start", str(folder)]
        return Launch(command, {"PYTHONPATH": str(MODULES), **ONE_THREAD}, request, "/v2/models/do_nothing/ready")

    def tensors(self, size_bytes: int, workers: int, port: int, folder: Path) -> Launch:
        """Serve the same runtime; only the size of :data:`VALUES` can be measured."""
        if size_bytes != 4 * len(VALUES):
            raise CannotRun(f"MLServer is asked by JSON, which is measured with {4 * len(VALUES)} bytes only")
        return self.do_nothing(workers, port, folder)


def _check(answer: bytes) -> None:
    outputs = read_json(answer, "outputs")
    try:
        check_values(outputs[0]["data"])
    except (LookupError, TypeError):
        raise WrongAnswer(f"an answer without a first output: {answer[:300]!r}") from None
