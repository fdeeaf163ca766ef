"""mosec 0.9.8: a Rust front end and Python workers."""

import json
from pathlib import Path

from bench.peers.environments import Environment
from bench.peers.exchange import Request
from bench.peers.servers.base import (
    JSON,
    MODULES,
    ONE_THREAD,
    VALUES,
    Classifying,
    Launch,
    Peer,
    check_values,
    engine_requirements,
    read_json,
    worker_environ,
)
from bench.peers.servers.base64_json import images_request

_MAX_BODY_BYTES = 64 << 20  # hubserve's default
_TIMEOUT_MS = 300_000


class Mosec(Peer):
    """Workers are those in modules/mosec_*.py."""

    title = "mosec 0.9.8"

    @property
    def environment(self) -> Environment:
        """The server and the engines."""
        return Environment("mosec", ("3.11", "3.12", "3.13", "3.10"), ("mosec==0.9.8", *engine_requirements()))

    def do_nothing(self, workers: int, port: int, folder: Path) -> Launch:
        """A worker that returns what it gets."""
        body = json.dumps({"values": VALUES}).encode()
        request = Request("/inference", JSON, body, lambda answer: check_values(read_json(answer, "values")), b'"values"')
        return Launch(self._command("mosec_do_nothing.py", port, folder), {"WORKERS": str(workers), **ONE_THREAD}, request)

    def classifier(self, work: Classifying, port: int, folder: Path) -> Launch:
        """A worker with the engine."""
        request = images_request("/inference", work.images, "prediction")
        return Launch(self._command("mosec_classifier.py", port, folder), worker_environ(work), request)

    def _command(self, script: str, port: int, folder: Path) -> list[str]:
        limits = ["--timeout", str(_TIMEOUT_MS), "--max-request-size", str(_MAX_BODY_BYTES), "--log-level", "warning"]
        places = ["--address", "127.0.0.1", "--port", str(port), "--path", str(folder / "sockets")]
        return [str(self.interpreter.path), str(MODULES / script), *places, *limits]
